package e2e

import (
	"os/exec"
	"strings"
	"testing"

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

func TestStackRefusesObjectsOfOtherOwnersBeforeItsFirstChange(t *testing.T) {
	folder := t.TempDir()
	clone, err := variant.Sources(".", folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := clone.Write("Pulumi.trial.yaml", trial); err != nil {
		t.Fatal(err)
	}
	run := func(line string) (string, error) {
		command := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", "unset PULUMI_CONFIG_PASSPHRASE_FILE; "+line)
		command.Dir = folder
		command.Env = append(command.Environ(), "PULUMI_BACKEND_URL=file://"+t.TempDir(), "PULUMI_CONFIG_PASSPHRASE=trial")
		printed, err := command.CombinedOutput()
		return string(printed), err
	}
	const prepare = "pulumi stack init trial; make secrets STACK=trial; "
	const update = "pulumi up --yes --skip-preview --non-interactive --stack trial"
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
	printed, err := run("pulumi stack init trial; pulumi config set platform:namespacePrefix trial- --stack trial; make secrets STACK=trial; " + update)
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
