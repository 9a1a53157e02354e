package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
	"platform.example/test/variant"
)

// trial is another stack on the cluster of the stack local.
const trial = `config:
  platform:environment: staging
  platform:registry: 127.0.0.1:5100/trial
  platform:kubeconfig: /var/lib/platform/node/admin.kubeconfig
  platform:edge: {host: trial.example, type: ClusterIP, tlsSecret: edge}
  platform:postgres: {instances: 1, cpu: "2", memory: 512Mi}
  platform:replicas: {min: 1, max: 2}
  platform:monitoring: {grafana: false}
`

// foreign is another team's objects on the cluster, with names that the stack trial would use.
const foreign = `
apiVersion: v1
kind: Namespace
metadata: {name: trial-monitoring}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prometheus, namespace: trial-monitoring}
data: {owner: another team}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: prometheus, namespace: trial-monitoring}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: platform-trial-prometheus}
rules: []
`

// otherStack returns a function that runs shell commands for the stack trial, in sources and with a state of its own.
func otherStack(t *testing.T, config string) func(line string) (string, error) {
	t.Helper()
	folder, backend := t.TempDir(), t.TempDir()
	clone, err := variant.Sources(".", folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := clone.Write("Pulumi.trial.yaml", config); err != nil {
		t.Fatal(err)
	}
	return func(line string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 12*time.Minute) // also after the test
		defer cancel()
		command := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", "unset PULUMI_CONFIG_PASSPHRASE_FILE; "+line)
		command.Dir = folder
		command.Env = append(command.Environ(), "PULUMI_BACKEND_URL=file://"+backend, "PULUMI_CONFIG_PASSPHRASE=trial")
		printed, err := command.CombinedOutput()
		return string(printed), err
	}
}

const (
	prepare = "pulumi stack init trial; make secrets STACK=trial; "
	update  = "pulumi up --yes --skip-preview --non-interactive --stack trial"
)

// definitions are the custom resource definitions of the cluster, with what changes when somebody replaces or changes one.
func definitions(t *testing.T) string {
	return kit.Output(t, "kubectl", "get", "customresourcedefinitions", `--output=jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.metadata.generation}{"\n"}{end}`)
}

// runBeside creates the stack trial with the prefix trial-, checks it, deletes it, and checks that the stack local is as before.
func runBeside(t *testing.T, check func()) {
	t.Helper()
	run := otherStack(t, strings.Replace(strings.Replace(trial, "environment: staging", "environment: local\n  platform:namespacePrefix: trial-", 1), ", tlsSecret: edge", "", 1))
	before, unharmed := definitions(t), kit.Unharmed(t)
	destroyed := false
	destroy := func() {
		if printed, err := run("pulumi destroy --yes --skip-preview --non-interactive --stack trial"); err != nil {
			t.Errorf("%v\n%s", err, printed)
		}
		destroyed = true
	}
	t.Cleanup(func() {
		if !destroyed {
			destroy()
		}
	})
	if printed, err := run(prepare + update); err != nil {
		t.Fatalf("%v\n%s", err, printed[max(0, len(printed)-4000):])
	}
	for _, namespace := range []string{"data", "trial-data"} {
		healthy := kit.Output(t, "kubectl", "get", "clusters.postgresql.cnpg.io", "--namespace="+namespace, "--output=jsonpath={.items[*].status.phase}")
		if healthy != "Cluster in healthy state" {
			t.Errorf("Postgres in %s: %s", namespace, healthy)
		}
	}
	for _, service := range kit.ServiceNames() {
		kit.Output(t, "kubectl", "rollout", "status", "--namespace=trial-apps", "--timeout=60s", "deployment/"+service+"-blue")
	}
	check()
	if printed, err := run("pulumi preview --expect-no-changes --non-interactive --stack trial"); err != nil {
		t.Errorf("the second stack changes again: %v\n%s", err, printed)
	}
	destroy()
	if left := kit.Output(t, "kubectl", "get", "namespaces,clusterroles,clusterrolebindings,priorityclasses", "--output=name"); strings.Contains(left, "trial-") {
		t.Errorf("the deleted stack leaves %s", left)
	}
	if now := definitions(t); now != before {
		t.Errorf("the custom resource definitions are\n%s\nwant\n%s", now, before)
	}
	unharmed()
}

// operators are the Deployments of a stack's own operator of Postgres.
func operators(t *testing.T) string {
	return kit.Output(t, "kubectl", "get", "deployments", "--all-namespaces", "--selector=app.kubernetes.io/name=postgres-operator", "--output=jsonpath={.items[*].metadata.namespace}")
}

// A second stack with a prefix runs beside the first one. They share only the custom resource definitions of the operator of Postgres,
// which stay when one of the stacks is deleted.
func TestTwoStacksShareACluster(t *testing.T) {
	runBeside(t, func() {
		if found := operators(t); found != "data trial-data" {
			t.Errorf("operators of Postgres run in %q, want one for each stack", found)
		}
	})
	kit.Output(t, "make", "drift")
}

// Another team's operator of Postgres runs in its own namespace. The stack creates no operator, and its firewall lets that one in.
func TestStackUsesTheOperatorOfAnotherTeam(t *testing.T) {
	const annotation = "platform.example/stack"
	// The definitions become another team's until the test ends.
	names := kit.Output(t, "kubectl", "get", "customresourcedefinitions", `--output=jsonpath={.items[?(@.spec.group=="postgresql.cnpg.io")].metadata.name}`)
	annotate := func(value string) {
		command := append([]string{"kubectl", "annotate", "--overwrite", "customresourcedefinitions"}, strings.Fields(names)...)
		kit.Output(t, append(command, annotation+value)...)
	}
	annotate("-")
	t.Cleanup(func() { annotate("=local") })

	const team = "database-team"
	deployment := kit.Output(t, "bash", "-euo", "pipefail", "-c", `
		kubectl get deployment/postgres-operator secret/postgres-operator-certificate --namespace=data --output=json |
		jq '.items |= map({apiVersion, kind, type, data, metadata: {name: .metadata.name, namespace: "`+team+`"}, spec}) |
			(.items[] | select(.kind == "Deployment").spec) |= (.selector.matchLabels = {"app.kubernetes.io/name": "cloudnative-pg"} |
				.template.metadata = {labels: .selector.matchLabels} |
				.template.spec |= (.serviceAccountName = "default" | .serviceAccount = "default" | del(.priorityClassName) |
					.containers[0].env |= map(if .name == "WATCH_NAMESPACE" then .value = "trial-data"
						elif .name == "OPERATOR_NAMESPACE" then .value = "`+team+`" else . end)))'`)
	for _, object := range []string{
		`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "` + team + `"}}`,
		`{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "` + team + `"},
			"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
			"subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "` + team + `"}]}`,
		deployment,
	} {
		if _, err := kit.Feed(object, "kubectl", "apply", "--filename=-"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := kit.Run("kubectl", "delete", "namespace/"+team, "clusterrolebinding/"+team); err != nil {
			t.Error(err)
		}
	})
	kit.Output(t, "kubectl", "rollout", "status", "--namespace="+team, "--timeout=60s", "deployment/postgres-operator")
	theirs := func() string {
		return kit.Output(t, "kubectl", "get", "--output=jsonpath={.metadata.uid} {.metadata.generation} {.status.readyReplicas}", "--namespace="+team, "deployment/postgres-operator")
	}
	before := theirs()
	runBeside(t, func() {
		if found := operators(t); found != "data" {
			t.Errorf("operators of Postgres run in %q, want only that of the first stack", found)
		}
	})
	if now := theirs(); now != before {
		t.Errorf("the other team's operator is %s, want %s", now, before)
	}
}

func TestStackRefusesObjectsOfOtherOwnersBeforeItsFirstChange(t *testing.T) {
	run := otherStack(t, trial)
	if printed, err := run(prepare + update); err == nil || !strings.Contains(printed, "leads to the cluster of stack local: two stacks can't share one") {
		t.Errorf("in the namespaces of another stack: %v\n%s", err, printed)
	}

	if _, err := kit.Feed(foreign, "kubectl", "apply", "--filename=-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := kit.Run("kubectl", "delete", "namespace/trial-monitoring", "clusterrole/platform-trial-prometheus"); err != nil {
			t.Error(err)
		}
	})
	theirs := func() string {
		return kit.Output(t, "kubectl", "get", "--output=yaml", "namespace/trial-monitoring", "clusterrole/platform-trial-prometheus") +
			kit.Output(t, "kubectl", "get", "--output=yaml", "--namespace=trial-monitoring", "configmap/prometheus", "serviceaccount/prometheus")
	}
	before := theirs()
	printed, err := run("pulumi config set platform:namespacePrefix trial- --stack trial; make secrets STACK=trial; " + update)
	for _, want := range []string{"Namespace trial-monitoring", "ServiceAccount trial-monitoring/prometheus", "ClusterRole platform-trial-prometheus"} {
		if err == nil || !strings.Contains(printed, want+" exists, and stack trial didn't create it: set platform:namespacePrefix") {
			t.Errorf("%s is not refused: %v\n%s", want, err, printed)
		}
	}
	if now := theirs(); now != before {
		t.Errorf("the other team's objects are\n%s\nwant\n%s", now, before)
	}
	if namespaces := kit.Output(t, "kubectl", "get", "namespaces", "--output=name"); strings.Contains(namespaces, "namespace/trial-apps") {
		t.Errorf("the stack created a namespace before it was refused: %s", namespaces)
	}
}
