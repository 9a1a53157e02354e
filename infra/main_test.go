package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/catalog"
	"platform.example/infra/certificate"
	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/image"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/stack"
)

// The version is a semantic one, and people can read what it changes.
func TestVersionHasNotes(t *testing.T) {
	if !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(Version()) {
		t.Errorf("version %q is not semantic", Version())
	}
	changes, err := os.ReadFile("../CHANGELOG.md")
	if err != nil || !strings.Contains(string(changes), "\n## "+Version()+" - ") {
		t.Errorf("CHANGELOG.md has no section for version %s (%v)", Version(), err)
	}
}

func TestLocal(t *testing.T) {
	engine := local(t)
	t.Run("every service is compiled, built and pushed under its version", func(t *testing.T) {
		images := engine.ofType("docker:index/image:Image")
		for service, image := range images {
			name := regexp.MustCompile("^localhost:5000/" + service + ":[0-9a-f]{12}$")
			if !name.MatchString(image.at("imageName").(string)) || image.at("buildOnPreview") != true {
				t.Errorf("%s: %v", service, image)
			}
			if got, want := image.at("build", "context"), "../.build/"+service; got != want {
				t.Errorf("%s is built from %v, want %s: the same on every machine", service, got, want)
			}
		}
		if len(images) != len(catalog.Services()) {
			t.Errorf("%d images, want one per service", len(images))
		}
	})
	t.Run("a change of a volume's size keeps the StatefulSet", func(t *testing.T) {
		servers := 0
		for _, created := range engine.registered {
			if created.TypeToken != "kubernetes:apps/v1:StatefulSet" {
				continue
			}
			servers++
			if !slices.Contains(created.RegisterRPC.IgnoreChanges, "spec.volumeClaimTemplates") {
				t.Errorf("%s would be replaced", created.Name)
			}
		}
		if servers != 4 { // the stream, the object store, Prometheus and Alertmanager
			t.Errorf("there are %d StatefulSets", servers)
		}
	})
	t.Run("every pod is restricted, limited, probed and without a token", func(t *testing.T) {
		pods := map[string]any{}
		for _, kind := range []string{"apps/v1:Deployment", "apps/v1:StatefulSet", "apps/v1:DaemonSet", "batch/v1:Job"} {
			for name, manifest := range engine.ofType(kind) {
				pods[kind+" "+name] = manifest.at("spec", "template", "spec")
			}
		}
		// A Deployment per service, the cache and the edge; the operator of Postgres, the object store and the stream; what sets the three
		// stores up, three migrations, the demo user. Who watches: Prometheus and Alertmanager, six Deployments, and one on every node.
		if want := len(catalog.Services()) + 2 + 3 + 7 + 2 + 6 + 1; len(pods) != want {
			t.Errorf("%d kinds of pods, want %d", len(pods), want)
		}
		for name, spec := range pods {
			checkPod(t, name, spec.(map[string]any), !strings.Contains(name, "Job"))
		}
	})
	t.Run("Jobs that set up a store have a low priority", func(t *testing.T) {
		for name, job := range engine.ofType("batch/v1:Job") {
			if class := job.at("spec", "template", "spec", "priorityClassName"); class != "platform-apps" {
				t.Errorf("Job %s has the priority %v, by which a service's pod would have to go", name, class)
			}
		}
	})
	t.Run("services run by digest, third-party images by tag", func(t *testing.T) {
		want := map[string]string{
			"redis-cache": "docker.io/library/redis:7-bookworm", "edge": "docker.io/library/traefik:v3.6.2",
		}
		for name, upstream := range map[string]string{
			"kube-state-metrics": "kube-state-metrics", "kube-state-metrics-nodes": "kube-state-metrics", "postgres-exporter": "postgres-exporter", "grafana": "grafana", "postgres-operator": "cloudnative-pg",
			"redis-cache-exporter": "redis-exporter", "redis-stream-exporter": "redis-exporter",
		} {
			want[name] = image.Upstream(upstream, stack.Local, "")
		}
		for _, service := range catalog.Services() {
			want[service.Name+"-blue"] = "localhost:5000/" + service.Name + "@" + digest
		}
		for name, deployment := range engine.ofType("apps/v1:Deployment") {
			if got := deployment.at("spec", "template", "spec", "containers", 0, "image"); got != want[name] {
				t.Errorf("%s runs %v, want %s", name, got, want[name])
			}
		}
	})
	t.Run("the autoscaler owns the replicas of its Deployment", func(t *testing.T) {
		for _, service := range catalog.Services() {
			name := service.Name + "-blue"
			scaler := engine.ofType("HorizontalPodAutoscaler")[name]
			if scaler.at("spec", "scaleTargetRef", "name") != name || scaler.at("spec", "minReplicas") != 1 ||
				scaler.at("spec", "maxReplicas") != 2 {
				t.Errorf("%s: %v", name, scaler)
			}
			const sameUseAsElsewhere = 70 * 100 / 40 // pods ask for 40 % here
			if got := scaler.at(cpuTarget...); got != sameUseAsElsewhere {
				t.Errorf("%s has a CPU target of %v %% of the request, want %d", name, got, sameUseAsElsewhere)
			}
			if replicas := engine.ofType("apps/v1:Deployment")[name].at("spec", "replicas"); replicas != nil {
				t.Errorf("%s sets replicas %v", name, replicas)
			}
		}
	})
	t.Run("the live Service and the colour's Service select the colour's pods", func(t *testing.T) {
		services := engine.ofType("core/v1:Service")
		for _, service := range catalog.Services() {
			name := service.Name
			deployment := engine.ofType("apps/v1:Deployment")[name+"-blue"]
			labels := maps.Clone(deployment.at("spec", "template", "metadata", "labels").(map[string]any))
			delete(labels, network.Label) // which is for the policies
			for _, service := range []string{name, name + "-blue"} {
				if got := services[service].at("spec", "selector"); !reflect.DeepEqual(got, labels) {
					t.Errorf("%s selects %v, the pods have %v", service, got, labels)
				}
			}
			if got := deployment.at("spec", "selector", "matchLabels"); !reflect.DeepEqual(got, labels) {
				t.Errorf("%s selects %v, its pods have %v", name, got, labels)
			}
		}
	})
	t.Run("only the edge is exposed", func(t *testing.T) {
		for name, service := range engine.ofType("core/v1:Service") {
			exposed := service.at("spec", "type") == "NodePort"
			if exposed != (name == "edge") {
				t.Errorf("%s has type %v", name, service.at("spec", "type"))
			}
			if service.at("metadata", "annotations", "pulumi.com/skipAwait") != "true" {
				t.Errorf("Pulumi waits for Service %s", name)
			}
		}
		edge := engine.ofType("core/v1:Service")["edge"]
		if edge.at("spec", "ports", 0, "nodePort") != 30080 || edge.at("spec", "ports", 1, "nodePort") != 30443 {
			t.Errorf("the edge is on ports %v", edge.at("spec", "ports"))
		}
		if edge.at("spec", "externalTrafficPolicy") != "Local" {
			t.Error("the edge loses the client's address")
		}
	})
	t.Run("services get the addresses of their stores and of the services that they call", func(t *testing.T) {
		gateway := engine.ofType("core/v1:ConfigMap")["api-gateway-blue"].at("data").(map[string]any)
		for _, service := range []string{"user", "order", "notification"} {
			if got := gateway[strings.ToUpper(service)+"_SERVICE_URL"]; got != "http://"+service+"-service.apps.svc:8080" {
				t.Errorf("api-gateway calls %s-service at %v", service, got)
			}
		}
		if gateway["POSTGRES_HOST"] != nil || gateway["STREAM_ADDR"] != nil {
			t.Errorf("api-gateway: %v", gateway)
		}
		orders := engine.ofType("core/v1:ConfigMap")["order-service-blue"].at("data").(map[string]any)
		if orders["STREAM_ADDR"] != "redis-stream.data.svc:6379" || orders["REDIS_ADDR"] != nil || orders["POSTGRES_DATABASE"] != "orders" {
			t.Errorf("order-service: %v", orders)
		}
		users := engine.ofType("core/v1:ConfigMap")["user-service-blue"].at("data").(map[string]any)
		for variable, want := range map[string]string{
			"SERVICE_NAME": "user-service", "SERVICE_COLOUR": "blue", "ENVIRONMENT": "local", "SHUTDOWN_DELAY": "5s",
			"POSTGRES_HOST": "postgres.data.svc", "POSTGRES_PORT": "5432", "POSTGRES_DATABASE": "users",
			"POSTGRES_SSLMODE": "verify-full", "POSTGRES_MAX_CONNS": "8",
			"REDIS_ADDR": "redis-cache.data.svc:6379", "REDIS_TLS": "true", "LIVE_URL": "http://user-service.apps.svc:8080",
		} {
			if users[variable] != want {
				t.Errorf("user-service: %s=%v, want %s", variable, users[variable], want)
			}
		}
	})
	version := func(service string) string {
		return engine.ofType("core/v1:ConfigMap")[service+"-blue"].at("data", "SERVICE_VERSION").(string)
	}
	usersMigration, ordersMigration := "user-service-migrate-"+usersSchema, "order-service-migrate-"+version("order-service")
	t.Run("the migration's name contains the hash of the migrations", func(t *testing.T) {
		migration := engine.ofType("batch/v1:Job")[usersMigration]
		if got := migration.at("metadata", "name"); got != usersMigration {
			t.Errorf("the Job is %v, want %s", got, usersMigration)
		}
		if got := migration.at("spec", "template", "spec", "containers", 0, "command"); !reflect.DeepEqual(got, []any{"/app", "migrate"}) {
			t.Errorf("the Job runs %v", got)
		}
	})
	t.Run("each step waits for the previous one", func(t *testing.T) {
		for name, before := range map[string][]string{
			"apps/v1:Deployment user-service-blue":     {"::" + usersMigration, "::postgres-setup", "::redis-cache-setup"},
			"apps/v1:Deployment api-gateway-blue":      {"::redis-cache-setup"},
			"apps/v1:Deployment order-service-blue":    {"::" + ordersMigration, "::redis-stream-setup"},
			"batch/v1:Job " + usersMigration:           {"::postgres-setup"},
			"batch/v1:Job user-service-blue-seed-demo": {"::" + usersMigration},
			"batch/v1:Job postgres-setup":              {"::postgres-1", "::postgres"},
			"core/v1:Service user-service":             {},
			"postgresql.cnpg.io/v1:Cluster postgres-1": {"::postgres-operator", "::postgres-certificate", "::object-store"},
			"core/v1:Service postgres":                 {"::postgres-1"},
			"apps/v1:Deployment postgres-operator":     {"::clusters.postgresql.cnpg.io", "::backups.postgresql.cnpg.io"},
			"ScheduledBackup postgres-1-nightly":       {"::postgres-1"},
			"core/v1:ConfigMap user-service-blue":      {},
			"core/v1:Namespace apps":                   {},
			"docker:index/image:Image user-service":    {},
		} {
			dependencies := engine.dependencies(t, name)
			for _, want := range before {
				if !slices.ContainsFunc(dependencies, func(urn string) bool { return strings.HasSuffix(urn, want) }) {
					t.Errorf("%s does not wait for %s: %v", name, want, dependencies)
				}
			}
		}
	})
	t.Run("all secrets are marked as secret", func(t *testing.T) {
		for _, created := range engine.registered {
			for _, text := range open(resource.NewObjectProperty(created.Inputs)) {
				if strings.Contains(text, "value-of-") || strings.Contains(text, "PRIVATE KEY") {
					t.Errorf("%s %s shows %s", created.TypeToken, created.Name, text)
				}
			}
		}
		secret := engine.ofType("core/v1:Secret")["user-service-blue"]
		for variable, want := range map[string]string{
			"POSTGRES_PASSWORD": valueOf("userServiceDatabasePassword"), "REDIS_PASSWORD": valueOf("userServiceCachePassword"),
			"REDIS_USERNAME": "user-service",
		} {
			if secret.at("stringData", variable) != want {
				t.Errorf("user-service has %s %v, want %s", variable, secret.at("stringData", variable), want)
			}
		}
		if user, _ := secret.at("stringData", "POSTGRES_USER").(string); !regexp.MustCompile("^user_service_[0-9a-f]{8}$").MatchString(user) {
			t.Errorf("user-service signs in to Postgres as %q", user)
		}
		keys := engine.ofType("core/v1:Secret")["api-gateway-blue"].at("stringData", "JWT_KEYS")
		if keys != valueOf("jwtKeys") {
			t.Errorf("api-gateway has not its keys: %v", keys)
		}
	})
	t.Run("namespaces admit only restricted pods", func(t *testing.T) {
		namespaces := engine.ofType("core/v1:Namespace")
		for _, name := range []string{"apps", "data", "edge"} {
			if namespaces[name].at("metadata", "labels", "pod-security.kubernetes.io/enforce") != "restricted" {
				t.Errorf("namespace %s: %v", name, namespaces[name])
			}
		}
	})
	t.Run("all Kubernetes resources use the stack's provider", func(t *testing.T) {
		for _, created := range engine.registered {
			if strings.HasPrefix(created.TypeToken, "kubernetes:") && !strings.Contains(created.Provider, "::cluster::") {
				t.Errorf("%s %s goes through %q", created.TypeToken, created.Name, created.Provider)
			}
		}
	})
}

// dependencies returns the resources that the resource "type name" waits for.
func (e *engine) dependencies(t *testing.T, resource string) []string {
	t.Helper()
	kind, name, _ := strings.Cut(resource, " ")
	for _, created := range e.registered {
		if strings.HasSuffix(created.TypeToken, kind) && created.Name == name {
			return created.RegisterRPC.GetDependencies()
		}
	}
	t.Errorf("there is no %s", resource)
	return nil
}

func checkPod(t *testing.T, name string, spec manifest, serves bool) {
	t.Helper()
	context := spec.at("securityContext")
	if context.(map[string]any)["runAsNonRoot"] != true || spec.at("securityContext", "seccompProfile", "type") != "RuntimeDefault" {
		t.Errorf("%s: security context %v", name, context)
	}
	// Whether it requests something from the API server.
	asks := strings.HasSuffix(name, " prometheus") || strings.HasSuffix(name, " postgres-operator") || strings.Contains(name, " kube-state-metrics")
	if spec.at("automountServiceAccountToken") != asks {
		t.Errorf("%s mounts a token", name)
	}
	container := manifest(spec.at("containers", 0).(map[string]any))
	for _, field := range []string{"readOnlyRootFilesystem", "allowPrivilegeEscalation"} {
		if got, want := container.at("securityContext", field), field == "readOnlyRootFilesystem"; got != want {
			t.Errorf("%s: %s is %v", name, field, got)
		}
	}
	if container.at("securityContext", "capabilities", "drop", 0) != "ALL" {
		t.Errorf("%s keeps capabilities", name)
	}
	for _, kind := range []string{"requests", "limits"} {
		for _, what := range []string{"cpu", "memory"} {
			if container.at("resources", kind, what) == nil {
				t.Errorf("%s: no %s of %s", name, kind, what)
			}
		}
	}
	for _, probe := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
		if serves && container.at(probe) == nil {
			t.Errorf("%s has no %s", name, probe)
		}
	}
}

func TestNoDemoUser(t *testing.T) {
	values := given(t)
	values["platform:demo"] = "false"
	engine := &engine{}
	if err := up(t, stack.Local, values, engine); err != nil {
		t.Fatal(err)
	}
	if _, seeded := engine.ofType("batch/v1:Job")["user-service-blue-seed-demo"]; seeded {
		t.Error("a demo user is made")
	}
}

// cpuTarget is the path of the CPU target in an autoscaler.
var cpuTarget = []any{"spec", "metrics", 0, "resource", "target", "averageUtilization"}

func TestProductionRunsImagesOfStaging(t *testing.T) {
	tested := resource.PropertyMap{}
	for _, service := range catalog.Services() {
		tested[resource.PropertyKey(service.Name)] = resource.NewObjectProperty(resource.PropertyMap{
			"version": resource.NewStringProperty("0123456789ab"),
			"digest":  resource.NewStringProperty("registry.example.com/" + service.Name + "@" + digest),
		})
	}
	if err := os.RemoveAll(filepath.Join(checkout, ".build")); err != nil {
		t.Fatal(err)
	}
	engine := &engine{staging: resource.PropertyMap{"releases": resource.NewArrayProperty([]resource.PropertyValue{
		resource.NewObjectProperty(resource.PropertyMap{"services": resource.NewObjectProperty(tested)}),
	})}}
	if err := up(t, stack.Production, remote(given(t)), engine); err != nil {
		t.Fatal(err)
	}
	if images := engine.ofType("docker:index/image:Image"); len(images) != 0 {
		t.Errorf("production builds %v", images)
	}
	if compiled, _ := filepath.Glob(filepath.Join(checkout, ".build", "binaries", "*")); len(compiled) != 0 {
		t.Errorf("production compiles %v", compiled)
	}
	for _, service := range catalog.Services() {
		name := service.Name + "-blue"
		deployment := engine.ofType("apps/v1:Deployment")[name]
		if got, want := deployment.at("spec", "template", "spec", "containers", 0, "image"), "registry.example.com/"+service.Name+"@"+digest; got != want {
			t.Errorf("%s runs %v, want %s", name, got, want)
		}
		if budget := engine.ofType("PodDisruptionBudget")[name]; budget.at("spec", "maxUnavailable") != 1 {
			t.Errorf("%s has the disruption budget %v", name, budget)
		}
		if got := engine.ofType("HorizontalPodAutoscaler")[name].at(cpuTarget...); got != 70 {
			t.Errorf("%s has a CPU target of %v %% of the request, want 70", name, got)
		}
	}
	for store, image := range map[string]any{
		"postgres":          engine.ofType("postgresql.cnpg.io/v1:Cluster")["postgres-1"].at("spec", "imageName"),
		"postgres-operator": engine.ofType("apps/v1:Deployment")["postgres-operator"].at("spec", "template", "spec", "containers", 0, "image"),
		"redis-stream":      engine.ofType("apps/v1:StatefulSet")["redis-stream"].at("spec", "template", "spec", "containers", 0, "image"),
	} {
		if !strings.Contains(fmt.Sprint(image), "@sha256:") {
			t.Errorf("%s is not pinned: %v", store, image)
		}
	}
}

func TestDataIsProtected(t *testing.T) {
	holders := []string{"kubernetes:core/v1:Namespace data", "kubernetes:postgresql.cnpg.io/v1:Cluster postgres-1", "kubernetes:apps/v1:StatefulSet redis-stream"}
	for setting, want := range map[string]bool{"true": true, "false": false} {
		values := given(t)
		values["platform:protectData"] = setting
		engine := &engine{}
		if err := up(t, stack.Local, values, engine); err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, created := range engine.registered {
			holds := slices.Contains(holders, created.TypeToken+" "+created.Name)
			if holds {
				found++
			}
			if protected := created.RegisterRPC.GetProtect(); protected != (holds && want) {
				t.Errorf("protectData %s: %s %s is protected: %v", setting, created.TypeToken, created.Name, protected)
			}
		}
		if found != len(holders) {
			t.Errorf("%d of %v are made", found, holders)
		}
	}
}

func TestCacheEvictsAndStreamPersists(t *testing.T) {
	engine := local(t)
	for store, settings := range map[string][]string{
		"redis-cache":  {"maxmemory 512mb", "maxmemory-policy allkeys-lru", "appendonly no"},
		"redis-stream": {"maxmemory 128mb", "maxmemory-policy noeviction", "appendonly yes", "appendfsync everysec"},
	} {
		conf := engine.ofType("core/v1:ConfigMap")[store].at("data", "redis.conf").(string)
		for _, setting := range append(settings, `save ""`, "port 0", "tls-port 6379") {
			if !strings.Contains(conf, setting+"\n") {
				t.Errorf("%s has not %q", store, setting)
			}
		}
	}
	stream := engine.ofType("apps/v1:StatefulSet")["redis-stream"]
	if stream.at("spec", "volumeClaimTemplates", 0, "spec", "resources", "requests", "storage") != "1024Mi" ||
		stream.at("spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted") != "Retain" {
		t.Errorf("the stream's volume: %v", stream.at("spec", "volumeClaimTemplates"))
	}
}

func TestStreamWithReplicas(t *testing.T) {
	seen := map[string]manifest{}
	for _, rendered := range rendered(t, "everything", filepath.Join("testdata", "Pulumi.everything.yaml")) {
		object := manifest(rendered)
		seen[fmt.Sprint(object.at("kind"), " ", object.at("metadata", "name"))] = object
	}
	set := seen["StatefulSet redis-stream"]
	if fmt.Sprint(set.at("spec", "replicas")) != "3" || set.at("spec", "serviceName") != "redis-stream" || set.at("spec", "volumeClaimTemplates", 0, "metadata", "name") != "data" {
		t.Errorf("the StatefulSet: %v", set.at("spec"))
	}
	if seen["PodDisruptionBudget redis-stream"] == nil {
		t.Error("a drain may evict all instances")
	}
	for name, pod := range map[string]string{
		"redis-stream": "redis-stream-0", "redis-stream-0": "redis-stream-0", "redis-stream-1": "redis-stream-1", "redis-stream-2": "redis-stream-2",
	} {
		if got := seen["Service "+name].at("spec", "selector", "statefulset.kubernetes.io/pod-name"); got != pod {
			t.Errorf("Service %s leads to %v, want %s", name, got, pod)
		}
	}
	const want = "redis-stream-0.data.svc:26379,redis-stream-1.data.svc:26379,redis-stream-2.data.svc:26379"
	if got := seen["ConfigMap order-service-blue-0000"].at("data", "STREAM_ADDR"); got != want {
		t.Errorf("order-service connects to %v, want %s", got, want)
	}
	for file, setting := range map[string]string{
		"redis.conf": "include /run/redis/instance.conf\n", "instance.sh": "min-replicas-to-write 1", "sentinel.sh": "down-after-milliseconds stream 3000",
	} {
		if text := fmt.Sprint(seen["ConfigMap redis-stream-0000"].at("data", file)); !strings.Contains(text, setting) {
			t.Errorf("%s lacks %q:\n%s", file, setting, text)
		}
	}
}

func TestFaultsFailBeforeTheFirstResource(t *testing.T) {
	tests := []struct {
		name   string
		stack  stack.Environment
		change func(values map[string]string)
		want   string
	}{
		{"an unknown stack", "dev", func(map[string]string) {}, `stack dev: platform:environment: "": want one of local, staging, production`},
		{"a bare webhook", stack.Local, func(v map[string]string) { v["platform:slackWebhookUrl"] = "hooks.slack.com/services/x" },
			"stack local: platform:slackWebhookUrl: want a URL with https://"},
		{"a missing secret", stack.Local, func(v map[string]string) { delete(v, "platform:jwtKeys") },
			"stack local: platform:jwtKeys: missing secret: run `make secrets STACK=local`"},
		{"an unreachable cluster", stack.Local, func(v map[string]string) { v["platform:kubeContext"] = "elsewhere" },
			`stack local: kubeconfig: `},
		{"another cluster than its own", stack.Local, func(v map[string]string) {
			v["platform:kubeconfig"] = clustertest.New(t, "other").Kubeconfig(t)
		}, `stack local is on the cluster this, but platform:kubeContext "" leads to the cluster other`},
		{"a password that anybody guesses", stack.Local, func(v map[string]string) { v["platform:redisPassword"] = "secret" },
			"stack local: platform:redisPassword: want at least 22 letters"},
		{"production that alerts nobody", stack.Production, func(v map[string]string) { v["platform:pagerDutyRoutingKey"] = "" },
			"stack production: platform:pagerDutyRoutingKey: missing: production wants this, slackWebhookUrl or alertWebhookUrl"},
		{"production without staging", stack.Production, func(map[string]string) {},
			"stack production: api-gateway has no image: this stack uses the images of stack"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			values := given(t)
			if test.stack != stack.Local {
				remote(values)
			}
			test.change(values)
			engine := &engine{last: resource.PropertyMap{"cluster": resource.NewStringProperty("this")}}
			err := up(t, test.stack, values, engine)
			if err == nil || !strings.Contains(errors.Unwrap(err).Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			for _, created := range engine.registered {
				if !strings.HasPrefix(created.TypeToken, "pulumi:") {
					t.Errorf("%s %s was registered", created.TypeToken, created.Name)
				}
			}
		})
	}
}

func TestProductionRunsTwoReplicasOfTheMonitoring(t *testing.T) {
	objects := map[string]manifest{}
	for _, rendered := range rendered(t, "production", "") {
		if m := manifest(rendered); m.at("metadata", "namespace") == "monitoring" {
			objects[m.at("kind").(string)+" "+m.at("metadata", "name").(string)] = m
		}
	}
	for _, part := range []string{"prometheus", "alertmanager"} {
		set := objects["StatefulSet "+part]
		if set.at("spec", "replicas") != 2 || set.at("spec", "template", "spec", "topologySpreadConstraints", 0, "topologyKey") != "kubernetes.io/hostname" {
			t.Errorf("%s has %v replicas, spread by %v", part, set.at("spec", "replicas"), set.at("spec", "template", "spec", "topologySpreadConstraints"))
		}
		if objects["PodDisruptionBudget "+part] == nil {
			t.Errorf("a drain evicts all replicas of %s", part)
		}
	}
	command := fmt.Sprint(objects["StatefulSet alertmanager"].at("spec", "template", "spec", "containers", 0, "command"))
	for _, flag := range []string{
		"--cluster.listen-address=[$(POD_IP)]:9094", "--cluster.peer=alertmanager-peers.monitoring.svc:9094", "--web.external-url=https://alertmanager.example.com ",
	} {
		if !strings.Contains(command, flag) {
			t.Errorf("Alertmanager has no %s: %s", flag, command)
		}
	}
	peers := objects["Service alertmanager-peers"]
	if peers.at("spec", "clusterIP") != "None" || peers.at("spec", "publishNotReadyAddresses") != true {
		t.Errorf("the replicas of Alertmanager don't find each other by %v", peers)
	}
	for _, direction := range []string{"ingress", "egress"} {
		if rules := fmt.Sprint(objects["NetworkPolicy alertmanager"].at("spec", direction)); !strings.Contains(rules, "port:9094 protocol:UDP") || !strings.Contains(rules, "port:9094 protocol:TCP") {
			t.Errorf("the replicas of Alertmanager may not gossip: %s", rules)
		}
	}
	alone := local(t).ofType("apps/v1:StatefulSet")["alertmanager"]
	if command := fmt.Sprint(alone.at("spec", "template", "spec", "containers", 0, "command")); alone.at("spec", "replicas") != 1 || !strings.Contains(command, "--cluster.listen-address=]") {
		t.Errorf("the local stack has %v replicas, with %s", alone.at("spec", "replicas"), command)
	}
}

func TestMonitoringSettings(t *testing.T) {
	values := given(t)
	values["platform:monitoring"] = `{"grafana":false,"traces":"http://192.0.2.7:4317","webhookNetwork":"192.0.2.0/24"}`
	values["platform:alertWebhookUrl"] = "https://192.0.2.7/alerts/with-a-secret"
	engine := &engine{}
	if err := up(t, stack.Local, values, engine); err != nil {
		t.Fatal(err)
	}
	deployments, configs := engine.ofType("apps/v1:Deployment"), engine.ofType("core/v1:ConfigMap")
	if _, exists := deployments["grafana"]; exists {
		t.Error("there is a Grafana")
	}
	if _, exists := deployments["otel-collector"]; !exists {
		t.Error("no collector is created")
	}
	for _, service := range catalog.Services() {
		if got := configs[service.Name+"-blue"].at("data", "OTEL_EXPORTER_OTLP_ENDPOINT"); got != network.CollectorURL("") {
			t.Errorf("%s sends its traces to %v", service.Name, got)
		}
	}
	routes := configs["alertmanager"].at("data", "alertmanager.yml").(string)
	if !strings.Contains(routes, "/run/secrets/alertmanager/webhook-url") || strings.Contains(routes, "with-a-secret") {
		t.Errorf("alerts are routed by\n%s", routes)
	}
	rules := configs["prometheus"].at("data", "rules.yml").(string)
	ends := regexp.MustCompile(`job:certificate_not_after:timestamp_seconds\n +expr: vector\(\d{10}\)\n +labels:\n +job: certificate-authority\n`)
	if !ends.MatchString(rules) {
		t.Error("no rule knows when the authority expires")
	}
}

func TestCertificateIsKeptUntilItIsDue(t *testing.T) {
	long := 90 * 24 * time.Hour
	hosts := []string{namespace.Prefix("").Host(network.Postgres, namespace.Data), namespace.Prefix("").Host(network.Pooler, namespace.Data)}
	issue := func(authority string, issued time.Time) string {
		pair, err := certificate.Issue(authority, hosts, long, issued)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	other, err := certificate.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	authority := valueOf(catalog.Authority)
	for name, test := range map[string]struct {
		served string
		stays  bool
	}{
		"fresh":                {issue(authority, time.Now()), true},
		"less than a third":    {issue(authority, time.Now().Add(-long*3/4)), false},
		"expired":              {issue(authority, time.Now().Add(-2*long)), false},
		"of another authority": {issue(other, time.Now()), false},
		"missing":              {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			api := clustertest.New(t, "this")
			public, key, _ := strings.Cut(test.served, "-----BEGIN PRIVATE")
			if test.served != "" {
				api.Answer("/api/v1/namespaces/data/secrets/postgres-certificate", corev1.Secret{
					TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
					ObjectMeta: metav1.ObjectMeta{Name: "postgres-certificate", UID: "1", Annotations: map[string]string{namespace.StackAnnotation: "local"}},
					Data:       map[string][]byte{"tls.crt": []byte(public), "tls.key": []byte("-----BEGIN PRIVATE" + key)},
				})
			}
			values := given(t)
			values["platform:kubeconfig"] = api.Kubeconfig(t)
			values["platform:postgresCertificate"] = "of a version that kept certificates in the configuration"
			engine := &engine{}
			if err := up(t, stack.Local, values, engine); err != nil {
				t.Fatal(err)
			}
			data := engine.ofType("core/v1:Secret")["postgres-certificate"]
			got, _ := data.at("stringData", "tls.crt").(string)
			if (got == public) != test.stays {
				t.Errorf("it stays: %v", got == public)
			}
			fresh, _ := data.at("stringData", "tls.key").(string)
			if err := certificate.Outdated(got+fresh, authority, hosts, long, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestImpossibleVolumeSizeFailsBeforeAnyChange(t *testing.T) {
	api := clustertest.New(t, "this")
	class := "standard"
	claim := corev1.PersistentVolumeClaim{
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: apiresource.MustParse("4Gi")}
	api.Answer("/api/v1/namespaces/data/persistentvolumeclaims/data-redis-stream-0", claim)
	values := on(t, api)
	claim.Name = "postgres-1-1"
	api.Answer("/api/v1/namespaces/data/persistentvolumeclaims", corev1.PersistentVolumeClaimList{Items: []corev1.PersistentVolumeClaim{claim}})
	api.Answer("/api/v1/namespaces/data/persistentvolumeclaims/postgres-1-1", claim)
	for _, test := range []struct{ setting, size, want string }{
		{"stream", "2Gi", "stack local: platform:stream.volumeSize: 2048Mi: claim data/data-redis-stream-0 has 4Gi and can't shrink"},
		{"stream", "8Gi", "stack local: platform:stream.volumeSize: 8192Mi: claim data/data-redis-stream-0 has 4Gi and StorageClass \"\" can't expand volumes"},
		{"postgres", "2Gi", "stack local: platform:postgres.volumeSize: 2048Mi: claim data/postgres-1-1 has 4Gi and can't shrink"},
		{"postgres", "8Gi", "stack local: platform:postgres.volumeSize: 8192Mi: claim data/postgres-1-1 has 4Gi and StorageClass \"\" can't expand volumes"},
	} {
		values["platform:stream"], values["platform:postgres"] = `{"volumeSize":"4Gi"}`, `{"volumeSize":"4Gi"}`
		values["platform:"+test.setting] = `{"volumeSize":"` + test.size + `"}`
		engine := &engine{}
		err := up(t, stack.Local, values, engine)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
		if objects := engine.ofType("v1:Namespace"); len(objects) > 0 {
			t.Errorf("it has begun: %v", objects)
		}
	}
}
