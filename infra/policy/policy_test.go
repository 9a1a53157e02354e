package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"

	"platform.example/infra/objectref"
	"platform.example/infra/stack"
)

var environments = []stack.Environment{stack.Local, stack.Staging, stack.Production}

// sound returns a new copy of objects without violations.
func sound(t *testing.T) (manifests []Object) {
	t.Helper()
	if err := json.Unmarshal(soundObjects(), &manifests); err != nil {
		t.Fatal(err)
	}
	return manifests
}

// soundObjects are the objects in JSON, which is faster to copy than YAML.
var soundObjects = sync.OnceValue(func() []byte {
	file, err := os.ReadFile("testdata/sound.yaml")
	if err != nil {
		panic(err)
	}
	manifests, err := decode(file)
	if err != nil {
		panic(err)
	}
	content, err := json.Marshal(manifests)
	if err != nil {
		panic(err)
	}
	return content
})

func parse(t *testing.T, text string) []Object {
	t.Helper()
	manifests, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return manifests
}

func decode(text []byte) (manifests []Object, err error) {
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var manifest Object
		if err := decoder.Decode(&manifest); errors.Is(err, io.EOF) {
			return manifests, nil
		} else if err != nil {
			return nil, err
		}
		manifests = append(manifests, manifest)
	}
}

// mutation changes a sound set in one place.
type mutation func(t *testing.T, manifests []Object) []Object

// removed as a value removes the field.
var removed = any(nil)

// set changes a field of an object, such as spec/ports/0/port.
func set(name, path string, value any) mutation {
	return func(t *testing.T, manifests []Object) []Object {
		t.Helper()
		at := slices.IndexFunc(manifests, func(manifest Object) bool { return objectref.Of(manifest).String() == name })
		if at < 0 {
			t.Fatalf("there is no %s", name)
		}
		steps := strings.Split(path, "/")
		var parent any = manifests[at]
		for _, step := range steps[:len(steps)-1] {
			parent = child(t, parent, step)
		}
		last := strings.ReplaceAll(steps[len(steps)-1], "~", "/")
		switch parent := parent.(type) {
		case Object:
			if _, there := parent[last]; value == removed && !there {
				t.Fatalf("%s has no %s", name, path)
			}
			if value == removed {
				delete(parent, last)
			} else {
				parent[last] = value
			}
		case []any:
			index, err := strconv.Atoi(last)
			if err != nil || index >= len(parent) {
				t.Fatalf("%s has no %s", name, path)
			}
			parent[index] = value
		}
		return manifests
	}
}

// child returns a field or a list element. It creates missing fields.
func child(t *testing.T, parent any, step string) any {
	t.Helper()
	switch parent := parent.(type) {
	case Object:
		if parent[step] == nil {
			parent[step] = Object{}
		}
		return parent[step]
	case []any:
		if index, err := strconv.Atoi(step); err == nil && index < len(parent) {
			return parent[index]
		}
	}
	t.Fatalf("there is no %s", step)
	return nil
}

func without(name string) mutation {
	return func(t *testing.T, manifests []Object) []Object {
		t.Helper()
		left := slices.DeleteFunc(manifests, func(manifest Object) bool { return objectref.Of(manifest).String() == name })
		if len(left) == len(manifests) {
			t.Fatalf("there is no %s", name)
		}
		return left
	}
}

func with(text string) mutation {
	return func(t *testing.T, manifests []Object) []Object {
		t.Helper()
		return append(manifests, parse(t, text)...)
	}
}

func both(first, second mutation) mutation {
	return func(t *testing.T, manifests []Object) []Object {
		t.Helper()
		return second(t, first(t, manifests))
	}
}

func check(t *testing.T, environment stack.Environment, change mutation) []Finding {
	t.Helper()
	return Check(environment, change(t, sound(t)))
}

func unchanged(_ *testing.T, manifests []Object) []Object { return manifests }

func TestSoundSetHasNoFindings(t *testing.T) {
	for _, environment := range environments {
		for _, finding := range check(t, environment, unchanged) {
			t.Errorf("%s: %s", environment, finding)
		}
	}
}

const (
	shop      = "Deployment apps/shop"
	pod       = "spec/template/spec/"
	container = pod + "containers/0/"
	pinned    = "registry.example.com/shop@sha256:0000000000000000000000000000000000000000000000000000000000000000"
)

// workloads are the objects with pods and the paths of their pods.
var workloads = map[string]string{
	shop: pod, "Deployment data/redis-cache": pod, "Deployment edge/edge": pod, "StatefulSet data/store": pod,
	"DaemonSet apps/logs": pod, "Job apps/shop-migrate": pod, "CronJob apps/shop-tidy": "spec/jobTemplate/" + pod,
}

type breach struct {
	what   string
	change mutation
	rule   string
	object string // that is at fault
}

func breaches() []breach {
	of := func(rule, object string, changes map[string]mutation) (found []breach) {
		for what, change := range changes {
			found = append(found, breach{what, change, rule, object})
		}
		return found
	}
	all := slices.Concat(
		of("schema", shop, map[string]mutation{
			"a field that nobody knows":  set(shop, container+"imagePullpolicy", "Always"),
			"a field in the wrong place": set(shop, "spec/readOnlyRootFilesystem", true),
			"an amount that is none":     set(shop, container+"resources/limits/cpu", "much"),
		}),
		of("schema", "Service apps/shop", map[string]mutation{
			"a number that is none": set("Service apps/shop", "spec/ports/0/port", "eighty"),
		}),
		of("schema", "HorizontalPodAutoscaler apps/shop", map[string]mutation{
			"a version that is gone": set("HorizontalPodAutoscaler apps/shop", "apiVersion", "autoscaling/v1beta1"),
		}),
		of("schema", "Pod apps/lone", map[string]mutation{
			"a pod that nothing replaces": with("{apiVersion: v1, kind: Pod, metadata: {name: lone, namespace: apps}}"),
		}),
		of("image", shop, map[string]mutation{
			"latest":              set(shop, container+"image", "registry.example.com/shop:latest"),
			"latest by digest":    set(shop, container+"image", "shop:latest@sha256:"+strings.Repeat("0", 64)),
			"neither":             set(shop, container+"image", "registry.example.com:5000/shop"),
			"a short digest":      set(shop, container+"image", "shop@sha256:00"),
			"an init container's": set(shop, pod+"initContainers/0/image", "shop"),
		}),
		of("image", "Cluster data/postgres-1", map[string]mutation{
			"a tag of Postgres": set("Cluster data/postgres-1", "spec/imageName", "registry.example.com/postgres:15"),
		}),
		of("image", "Pooler data/postgres-1-pooler", map[string]mutation{
			"a tag of PgBouncer": set("Pooler data/postgres-1-pooler", "spec/pgbouncer/image", "registry.example.com/pgbouncer:1"),
		}),
		of("go-limits", shop, map[string]mutation{
			"more memory than the limit": set(shop, container+"env/0/value", "129MiB"),
			"a size that isn't Go's":     set(shop, container+"env/0/value", "115Mi"),
			"a size too big to count":    set(shop, container+"env/0/value", "9999999999TiB"),
			"more threads than cores":    set(shop, container+"env/1/value", "3"),
			"no thread":                  set(shop, container+"env/1/value", "0"),
			"threads without a number":   set(shop, container+"env/1/value", "two"),
		}),
		of("restricted", shop, map[string]mutation{
			"a folder": set(shop, pod+"volumes/0", Object{"name": "etc", "hostPath": Object{"path": "/etc"}}),
			"a port":   set(shop, container+"ports/0/hostPort", 8080),
			"network":  set(shop, pod+"hostNetwork", true),
			"pids":     set(shop, pod+"hostPID", true),
			"ipc":      set(shop, pod+"hostIPC", true),
		}),
		of("restricted", shop, map[string]mutation{
			"a network volume":    set(shop, pod+"volumes/0", Object{"name": "share", "nfs": Object{"server": "a", "path": "/"}}),
			"no context at all":   set(shop, pod+"securityContext", removed),
			"no user of its own":  set(shop, pod+"securityContext/runAsUser", removed),
			"of its own, as root": set(shop, container+"securityContext/runAsUser", 0),
			"unconfined itself":   set(shop, container+"securityContext/seccompProfile", Object{"type": "Unconfined"}),
		}),
		of("namespace", "Namespace apps", map[string]mutation{
			"baseline": set("Namespace apps", "metadata/labels/pod-security.kubernetes.io~enforce", "baseline"),
			"no label": set("Namespace apps", "metadata/labels", removed),
		}),
		of("namespace", "ConfigMap elsewhere/shop", map[string]mutation{
			"another's": set("ConfigMap apps/shop", "metadata/namespace", "elsewhere"),
		}),
		of("namespace", "ConfigMap shop", map[string]mutation{
			"none": set("ConfigMap apps/shop", "metadata/namespace", removed),
		}),
		of("service-account", shop, map[string]mutation{
			"everybody's": set(shop, pod+"serviceAccountName", "default"),
			"none":        set(shop, pod+"serviceAccountName", removed),
		}),
		of("service-account", "DaemonSet apps/logs", map[string]mutation{
			"another's":     set("DaemonSet apps/logs", pod+"serviceAccountName", "shop"),
			"one not there": without("ServiceAccount apps/logs"),
		}),
		of("api-token", shop, map[string]mutation{
			"mounted":    set(shop, pod+"automountServiceAccountToken", true),
			"by default": set(shop, pod+"automountServiceAccountToken", removed),
			"projected": set(shop, pod+"volumes/0", Object{"name": "token", "projected": Object{"sources": []any{
				Object{"serviceAccountToken": Object{"path": "token"}}}}}),
		}),
		of("disruption", shop, map[string]mutation{
			"no budget": without("PodDisruptionBudget apps/shop"),
			"two budgets": with("{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: all, namespace: apps}, " +
				"spec: {maxUnavailable: 1, selector: {}}}"),
		}),
		of("disruption", "PodDisruptionBudget apps/shop", map[string]mutation{
			"none may be away":           set("PodDisruptionBudget apps/shop", "spec/maxUnavailable", 0),
			"all may be away":            set("PodDisruptionBudget apps/shop", "spec/maxUnavailable", "100%"),
			"no number":                  set("PodDisruptionBudget apps/shop", "spec/maxUnavailable", removed),
			"as many as there may be":    both(set("PodDisruptionBudget apps/shop", "spec/maxUnavailable", removed), set("PodDisruptionBudget apps/shop", "spec/minAvailable", 2)),
			"a share that rounds to all": both(set("PodDisruptionBudget apps/shop", "spec/maxUnavailable", removed), set("PodDisruptionBudget apps/shop", "spec/minAvailable", "60%")),
		}),
		of("rollout", shop, map[string]mutation{
			"anew":         set(shop, "spec/strategy", Object{"type": "Recreate"}),
			"by default":   set(shop, "spec/strategy", removed),
			"one away":     set(shop, "spec/strategy/rollingUpdate/maxUnavailable", 1),
			"a share away": set(shop, "spec/strategy/rollingUpdate/maxUnavailable", "25%"),
			"many at once": set(shop, "spec/strategy/rollingUpdate/maxSurge", "100%"),
		}),
		of("spread", shop, map[string]mutation{
			"nowhere":             set(shop, pod+"topologySpreadConstraints", removed),
			"over one node":       set(shop, pod+"topologySpreadConstraints/0/topologyKey", "rack"),
			"with another's pods": set(shop, pod+"topologySpreadConstraints/1/labelSelector/matchLabels", Object{"a": "b"}),
		}),
		of("probes", shop, map[string]mutation{
			"no start":           set(shop, container+"startupProbe", removed),
			"no readiness":       set(shop, container+"readinessProbe", removed),
			"no life":            set(shop, container+"livenessProbe", removed),
			"a port not there":   set(shop, container+"readinessProbe/httpGet/port", "health"),
			"a hasty death":      set(shop, container+"livenessProbe/periodSeconds", 1),
			"a late unreadiness": set(shop, container+"readinessProbe/failureThreshold", 100),
		}),
		of("service", "Service apps/shop", map[string]mutation{
			"no pods":             set("Service apps/shop", "spec/selector", Object{"app.kubernetes.io/name": "shoe"}),
			"no such name":        set("Service apps/shop", "spec/ports/0/targetPort", "web"),
			"no such number":      set("Service apps/shop", "spec/ports/0/targetPort", 81),
			"by default, no such": set("Service apps/shop", "spec/ports/0/targetPort", removed),
			"another protocol":    set("Service apps/shop", "spec/ports/0/protocol", "UDP"),
			"the pods of a Job":   set("Service apps/shop", "spec/selector", Object{"owner": "shop"}),
		}),
		of("exposure", "Service apps/shop", map[string]mutation{
			"a node's port":   set("Service apps/shop", "spec/type", "NodePort"),
			"a load balancer": set("Service apps/shop", "spec/type", "LoadBalancer"),
			"a name outside":  set("Service apps/shop", "spec/type", "ExternalName"),
			"other addresses": set("Service apps/shop", "spec/externalIPs", []any{"192.0.2.1"}),
		}),
		of("exposure", "Ingress apps/shop", map[string]mutation{
			"an Ingress": with("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: shop, namespace: apps}}"),
		}),
		of("default-deny", "Namespace apps", map[string]mutation{
			"none":                           without("NetworkPolicy apps/default-deny"),
			"one way":                        set("NetworkPolicy apps/default-deny", "spec/policyTypes", []any{"Ingress"}),
			"the other way":                  set("NetworkPolicy apps/default-deny", "spec/policyTypes", []any{"Egress"}),
			"by the API's defaults, one way": set("NetworkPolicy apps/default-deny", "spec/policyTypes", removed),
			"but for some":                   set("NetworkPolicy apps/default-deny", "spec/egress", []any{Object{"to": []any{Object{"ipBlock": Object{"cidr": "192.0.2.0/24"}}}}}),
		}),
		of("network-policy", shop, map[string]mutation{
			"no owner": set(shop, "spec/template/metadata/labels/owner", "nobody"),
		}),
		of("network-policy", "DaemonSet apps/logs", map[string]mutation{
			"none":    without("NetworkPolicy apps/logs"),
			"one way": set("NetworkPolicy apps/logs", "spec/policyTypes", []any{"Ingress"}),
		}),
		of("network-policy", "NetworkPolicy apps/shop", map[string]mutation{
			"from everybody": set("NetworkPolicy apps/shop", "spec/ingress/0/from", removed),
			"from every pod": set("NetworkPolicy apps/shop", "spec/ingress/0/from/0/podSelector", removed),
			"to everybody":   set("NetworkPolicy apps/shop", "spec/egress/0/to", removed),
		}),
		of("service-firewall", "Service apps/shop", map[string]mutation{
			"another port":      set("NetworkPolicy apps/shop", "spec/ingress/0/ports/0/port", 8081),
			"another name":      set("NetworkPolicy apps/shop", "spec/ingress/0/ports/0/port", "ops"),
			"another protocol":  set("NetworkPolicy apps/shop", "spec/ingress/0/ports/0/protocol", "UDP"),
			"a range beside it": both(set("NetworkPolicy apps/shop", "spec/ingress/0/ports/0/port", 8000), set("NetworkPolicy apps/shop", "spec/ingress/0/ports/0/endPort", 8079)),
			"nobody":            set("NetworkPolicy apps/shop", "spec/ingress", removed),
		}),
		of("secrets", shop, map[string]mutation{
			"a password":        set(shop, container+"env/2", Object{"name": "POSTGRES_PASSWORD", "value": "hunter2"}),
			"keys":              set(shop, container+"env/2", Object{"name": "JWT_KEYS", "value": "a:b"}),
			"camel case":        set(shop, container+"env/2", Object{"name": "webhookSecret", "value": "a"}),
			"a URL":             set(shop, container+"env/2", Object{"name": "DSN", "value": "postgres://shop:hunter2@store/shop"}),
			"an argument":       set(shop, container+"args", []any{"--password=abcdefghijklmnopqrstuv"}),
			"an init container": set(shop, pod+"initContainers/0/env/2", Object{"name": "API_TOKEN", "value": "t"}),
		}),
		of("secrets", "ConfigMap apps/shop", map[string]mutation{
			"a key":              set("ConfigMap apps/shop", "data/tls.key", "anything"),
			"a private key":      set("ConfigMap apps/shop", "data/store.conf", "-----BEGIN EC PRIVATE KEY-----\nMHc="),
			"a store's password": set("ConfigMap apps/shop", "data/store.conf", "port 6379\nrequirepass hunter2\n"),
			"an assigned secret": set("ConfigMap apps/shop", "data/store.conf", `{"clientSecret": "abcdefghijklmnopqrstuv"}`),
		}),
		of("job", "Job apps/shop-migrate", map[string]mutation{
			"no bound of tries": set("Job apps/shop-migrate", "spec/backoffLimit", removed),
			"no bound of time":  set("Job apps/shop-migrate", "spec/activeDeadlineSeconds", removed),
		}),
		of("job", "CronJob apps/shop-tidy", map[string]mutation{
			"no bound of tries": set("CronJob apps/shop-tidy", "spec/jobTemplate/spec/backoffLimit", removed),
		}),
		of("rbac", "Role apps/shop", map[string]mutation{
			"all verbs":        set("Role apps/shop", "rules/0/verbs", []any{"*"}),
			"all resources":    set("Role apps/shop", "rules/0/resources", []any{"*"}),
			"all groups":       set("Role apps/shop", "rules/0/apiGroups", []any{"*"}),
			"all subresources": set("Role apps/shop", "rules/0/resources", []any{"*/scale"}),
		}),
		of("rbac", "ClusterRole nodes", map[string]mutation{
			"all verbs": set("ClusterRole nodes", "rules/0/verbs", []any{"get", "*"}),
		}),
		of("rbac", "RoleBinding apps/shop", map[string]mutation{
			"all of a namespace": set("RoleBinding apps/shop", "roleRef", Object{"kind": "ClusterRole", "name": "admin"}),
		}),
		of("rbac", "ClusterRoleBinding nodes", map[string]mutation{
			"everything": set("ClusterRoleBinding nodes", "roleRef/name", "cluster-admin"),
		}),
		of("volumes", "StatefulSet data/store", map[string]mutation{
			"gone with it":    set("StatefulSet data/store", "spec/persistentVolumeClaimRetentionPolicy/whenDeleted", "Delete"),
			"gone with fewer": set("StatefulSet data/store", "spec/persistentVolumeClaimRetentionPolicy/whenScaled", "Delete"),
		}),
	)
	return append(all, ofEveryWorkload()...)
}

// ofEveryWorkload are the violations that must be found in all workloads.
func ofEveryWorkload() (found []breach) {
	for name, pod := range workloads {
		context, rights := pod+"securityContext/", pod+"containers/0/securityContext/"
		top := strings.TrimSuffix(pod, "template/spec/")
		for _, one := range []struct {
			rule, path string
			value      any
		}{
			{"image", pod + "containers/0/image", "shop"},
			{"resources", pod + "containers/0/resources/requests/cpu", removed},
			{"resources", pod + "containers/0/resources/requests/memory", removed},
			{"resources", pod + "containers/0/resources/requests/ephemeral-storage", removed},
			{"resources", pod + "containers/0/resources/limits/ephemeral-storage", removed},
			{"restricted", pod + "hostNetwork", true},
			{"restricted", context + "runAsNonRoot", removed},
			{"restricted", context + "runAsUser", removed},
			{"restricted", context + "runAsUser", 0},
			{"restricted", context + "seccompProfile", removed},
			{"restricted", context + "seccompProfile/type", "Unconfined"},
			{"restricted", rights + "privileged", true},
			{"restricted", rights + "allowPrivilegeEscalation", removed},
			{"restricted", rights + "allowPrivilegeEscalation", true},
			{"restricted", rights + "readOnlyRootFilesystem", removed},
			{"restricted", rights + "capabilities", removed},
			{"restricted", rights + "capabilities/drop", []any{"NET_RAW"}},
			{"restricted", rights + "capabilities/add", []any{"NET_BIND_SERVICE"}},
			{"service-account", pod + "serviceAccountName", removed},
			{"api-token", pod + "automountServiceAccountToken", removed},
			{"priority", pod + "priorityClassName", removed},
			{"priority", pod + "priorityClassName", "system-node-critical"},
			{"grace", pod + "terminationGracePeriodSeconds", 0},
			{"network-policy", top + "template/metadata/labels/owner", removed},
			{"labels", "metadata/labels", removed},
		} {
			found = append(found, breach{name + " " + one.path, set(name, one.path, one.value), one.rule, name})
		}
	}
	return found
}

func TestEachBreachIsFoundByItsRuleAlone(t *testing.T) {
	broken := map[string]bool{}
	for _, test := range breaches() {
		t.Run(test.rule+": "+test.what, func(t *testing.T) {
			findings := check(t, stack.Production, test.change)
			if len(findings) == 0 {
				t.Error("nothing is found")
			}
			for _, finding := range findings {
				if finding.Rule != test.rule || finding.Object != test.object || finding.Wrong == "" || finding.Fix == "" {
					t.Errorf("found %s, want %s by %s", finding, test.object, test.rule)
				}
			}
		})
		broken[test.rule] = true
	}
	for _, rule := range Rules() {
		if rule.Why == "" {
			t.Errorf("rule %s has no reason", rule.Name)
		}
		if !broken[rule.Name] {
			t.Errorf("nothing breaks rule %s", rule.Name)
		}
	}
}

func TestRequestsIncludeThePodsOfOperators(t *testing.T) {
	manifests := sound(t)
	cpu, memory := Requests(stack.Production, manifests)
	cpuWithout, memoryWithout := Requests(stack.Production, without("Cluster data/postgres-1")(t, manifests))
	if cpu-cpuWithout != 3*250 || memory-memoryWithout != 3*512 {
		t.Errorf("three instances of 250m and 512Mi add %d and %d", cpu-cpuWithout, memory-memoryWithout)
	}
	cpuWithout, memoryWithout = Requests(stack.Production, without("Pooler data/postgres-1-pooler")(t, sound(t)))
	if cpu-cpuWithout != 2*50 || memory-memoryWithout != 2*192 {
		t.Errorf("two poolers of 50m and 192Mi add %d and %d", cpu-cpuWithout, memory-memoryWithout)
	}
}

// Go's limits derive from the container's.
func TestNoLimitIsFoundTwice(t *testing.T) {
	for name, variable := range map[string]string{"cpu": "GOMAXPROCS", "memory": "GOMEMLIMIT"} {
		findings := check(t, stack.Local, set(shop, container+"resources/limits/"+name, removed))
		if len(findings) != 2 || findings[0].Rule != "resources" || findings[1].Rule != "go-limits" ||
			!strings.Contains(findings[1].Wrong, variable) {
			t.Errorf("without a limit of %s: %v", name, findings)
		}
	}
}

// The rules accept these.
func TestAccepted(t *testing.T) {
	budget := "PodDisruptionBudget apps/shop"
	firewall := "NetworkPolicy apps/shop"
	tests := map[string]mutation{
		"a tag and a digest":                set(shop, container+"image", "registry.example.com:5000/shop:1.2"+strings.TrimPrefix(pinned, "registry.example.com/shop")),
		"a user of the container's own":     both(set("Deployment edge/edge", pod+"securityContext/runAsUser", removed), set("Deployment edge/edge", container+"securityContext/runAsUser", 999)),
		"a size in bytes":                   set(shop, container+"env/0/value", "1000000"),
		"a value from a limit":              set(shop, container+"env/0", Object{"name": "GOMEMLIMIT", "valueFrom": Object{"resourceFieldRef": Object{"resource": "limits.memory"}}}),
		"a password from a Secret":          set(shop, container+"env/2", Object{"name": "PASSWORD", "valueFrom": Object{"secretKeyRef": Object{"name": "shop", "key": "PASSWORD"}}}),
		"a monkey":                          set(shop, container+"env/2", Object{"name": "MONKEY", "value": "george"}),
		"one replica that a drain may take": set("HorizontalPodAutoscaler apps/shop", "spec/minReplicas", 1),
		"a budget by what is left":          both(set(budget, "spec/maxUnavailable", removed), set(budget, "spec/minAvailable", 1)),
		"a budget by a share":               set(budget, "spec/maxUnavailable", "25%"),
		"one replica without a budget":      both(without("HorizontalPodAutoscaler apps/shop"), without(budget)),
		"a port by its number":              set("Service apps/shop", "spec/ports/0/targetPort", 8080),
		"a Service without pods of its own": set("Service apps/shop", "spec/selector", removed),
		"a firewall by name":                set(firewall, "spec/ingress/0/ports/0/port", "http"),
		"a firewall without ports":          set(firewall, "spec/ingress/0/ports", removed),
		"a firewall with a range":           both(set(firewall, "spec/ingress/0/ports/0/port", 8000), set(firewall, "spec/ingress/0/ports/0/endPort", 8100)),
		"a default by the API":              set(firewall, "spec/policyTypes", removed),
		"volumes kept by default":           set("StatefulSet data/store", "spec/persistentVolumeClaimRetentionPolicy", removed),
		"an Ingress of the edge":            with("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: edge, namespace: edge}}"),
		"a Deployment that nobody calls":    both(without("Service apps/shop"), set(shop, "spec/strategy", Object{"type": "Recreate"})),
		"two colours of one service": func(t *testing.T, manifests []Object) []Object {
			t.Helper()
			at := slices.IndexFunc(manifests, func(manifest Object) bool { return objectref.Of(manifest).String() == "DaemonSet apps/logs" })
			green := parse(t, yamlOf(t, manifests[at]))[0]
			green["metadata"].(Object)["name"] = "logs-green"
			return append(manifests, green)
		},
	}
	for what, change := range tests {
		t.Run(what, func(t *testing.T) {
			for _, finding := range check(t, stack.Production, change) {
				t.Error(finding)
			}
		})
	}
}

func yamlOf(t *testing.T, manifest Object) string {
	t.Helper()
	text, err := yaml.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRulesByEnvironment(t *testing.T) {
	tests := []struct {
		what   string
		change mutation
		rule   string
		only   stack.Environment
	}{
		{"a tag", set(shop, container+"image", "docker.io/library/redis:7-bookworm"), "image", stack.Local},
		{"a node's port at the edge", set("Service edge/edge", "spec/type", "NodePort"), "exposure", stack.Local},
	}
	for _, test := range tests {
		for _, environment := range environments {
			findings := check(t, environment, test.change)
			if right := len(findings) == 0; right != (environment == test.only) {
				t.Errorf("%s in %s: %v", test.what, environment, findings)
			}
			for _, finding := range findings {
				if finding.Rule != test.rule {
					t.Errorf("%s in %s: %s", test.what, environment, finding)
				}
			}
		}
	}
}

// Unnecessary exceptions must be removed.
func TestExceptionsAreNecessary(t *testing.T) {
	for _, exception := range Exceptions() {
		if exception.Why == "" {
			t.Errorf("%+v has no reason", exception)
		}
		at := slices.IndexFunc(Rules(), func(rule Rule) bool { return rule.Name == exception.Rule })
		if at < 0 {
			t.Errorf("%+v excuses from no rule", exception)
			continue
		}
		broken := false
		Rules()[at].check(readAll(stack.Production, sound(t)), func(object, _, _ string) {
			broken = broken || object == exception.Object
		})
		if !broken {
			t.Errorf("%+v excuses nothing", exception)
		}
	}
}

func TestFindingString(t *testing.T) {
	findings := check(t, stack.Production, set(shop, pod+"hostNetwork", true))
	if len(findings) != 1 {
		t.Fatalf("got %v", findings)
	}
	want := "Deployment apps/shop: host namespaces: hostNetwork=true: use the security context of infra/kube (restricted)"
	if got := findings[0].String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFindingsHaveAStableOrder(t *testing.T) {
	change := both(both(set(shop, pod+"hostNetwork", true), set(shop, pod+"hostPID", true)), set(shop, container+"resources", removed))
	first := check(t, stack.Production, change)
	for range 20 {
		if again := check(t, stack.Production, change); !slices.Equal(again, first) {
			t.Fatalf("got %v, then %v", first, again)
		}
	}
}
