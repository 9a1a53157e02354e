// Package promotion tests the promotion of a version from staging to production, on two clusters on this machine. It starts and ends
// without a platform.
package promotion

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"platform.example/test/kit"
	"platform.example/test/variant"
)

func TestMain(m *testing.M) { kit.MainAsRoot(m, "only root can create two clusters on one machine") }

// config is a stack that fits half of this machine. Nothing is at the address of its backups: Postgres serves, and tries to archive its log
// again and again. Its certificate is a Secret, like one from an external issuer.
const config = `config:
  platform:kubeconfig: /var/lib/platform/node/admin.kubeconfig
  platform:cpuRequests: 40
  platform:edge: {host: localhost, type: NodePort, httpPort: 30080, httpsPort: 30443, tlsSecret: edge, requestsPerSecond: 2000}
  platform:replicas: {min: 1, max: 2}
  platform:postgres: {instances: 1, cpu: "2", memory: 512Mi, volumeSize: 2Gi}
  platform:backup: {bucket: "s3://backups/platform", endpoint: "https://objects.example.com", network: 192.0.2.0/24}
  platform:stream: {memory: 128Mi, volumeSize: 1Gi}
  platform:monitoring: {retention: 35d, memory: 384Mi, volumeSize: 2Gi, grafana: false, replicas: 1,
    prometheusUrl: "https://prometheus.example.com", alertmanagerUrl: "https://alertmanager.example.com", runbooks: "https://example.com/runbooks"}
`

// receivers sets what production needs to send alerts. Nothing listens there.
const receivers = "for name in alertWebhookUrl deadMansSwitchUrl; do pulumi config set --secret platform:$name https://alerts.example.com/$name --stack production; done"

// prefix is the prefix of production's namespaces, because another team uses the plain names.
const prefix = "shop-"

// foreign is another team's objects, with names that the platform uses by default.
const foreign = `
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prometheus, namespace: monitoring}
data: {owner: another team}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: kube-state-metrics, namespace: monitoring}
spec:
  replicas: 0
  selector: {matchLabels: {app: theirs}}
  template:
    metadata: {labels: {app: theirs}}
    spec: {containers: [{name: theirs, image: registry.example.com/theirs}]}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: platform-data}
value: 7
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: platform-prometheus}
rules: []
`

// foreignObjects is the command that prints these objects with their resource versions.
const foreignObjects = "kubectl get --output yaml namespace/monitoring priorityclass/platform-data clusterrole/platform-prometheus; " +
	"kubectl get --namespace monitoring --output yaml configmap/prometheus deployment/kube-state-metrics"

// sources returns a copy of the sources with the two stacks. Upstream images are referenced by tag, because the nodes build
// their own replacements.
func sources(t *testing.T) (copied variant.Copy, environment string) {
	t.Helper()
	folder := t.TempDir()
	copied, err := variant.Sources(kit.Root, folder)
	if err != nil {
		t.Fatal(err)
	}
	printed, err := exec.Command("bash", "-eu", "-c", `mkdir "$0/bin" "$0/state"; cp bin/local $(ls bin/act 2>/dev/null) "$0/bin/"; cd "$0"
		sed -i 's/"digest": "[^"]*"/"digest": ""/' infra/image/upstream.json
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout state/edge.key -out state/edge.crt -days 2 \
			-subj /CN=localhost -addext subjectAltName=DNS:localhost
		head -c 24 /dev/urandom | base64 >state/passphrase
		(cd test && GOWORK=off go build -o ../bin/load ./cmd/load)
		(cd infra && GOWORK=off go build -o ../bin/release ./cmd/release)`, folder).CombinedOutput()
	if err != nil {
		t.Fatalf("prepare the sources: %v\n%s", err, printed)
	}
	for file, content := range map[string]string{
		"Pulumi.staging.yaml":    config + "  platform:registry: 127.0.0.1:5001/platform\n",
		"Pulumi.production.yaml": config,
	} {
		if err := copied.Write(file, content); err != nil {
			t.Fatal(err)
		}
	}
	return copied, fmt.Sprintf(`eval "$(bin/local env)"; export PULUMI_BACKEND_URL=file://%s/state PULUMI_CONFIG_PASSPHRASE_FILE=%[1]s/state/passphrase; `, folder)
}

// running returns the version and the digest of each service in the outputs of a stack.
func running(t *testing.T, m *machine, environment, stack string) map[string]string {
	t.Helper()
	printed := m.run(environment + "pulumi stack output services --json --stack " + stack)
	services, err := kit.ParseJSON[map[string]struct{ Version, Digest string }](printed)
	if err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	found := map[string]string{}
	for name, service := range services {
		found[name] = service.Version + " " + service.Digest
	}
	return found
}

func TestPromotionFromStagingToProduction(t *testing.T) {
	clone, environment := sources(t)
	staging, production := newMachine(t, "staging", string(clone)), newMachine(t, "production", string(clone))
	staging.node()
	production.node()
	// One registry for both stacks, as in production.
	registry := filepath.Join(string(clone), "state", "registry.sock")
	staging.begin("exec socat TCP-LISTEN:5001,bind=127.0.0.1,fork,reuseaddr TCP:127.0.0.1:5100")
	staging.begin("exec socat UNIX-LISTEN:" + registry + ",fork TCP:127.0.0.1:5100")
	production.begin("exec socat TCP-LISTEN:5001,bind=127.0.0.1,fork,reuseaddr UNIX-CONNECT:" + registry)

	up := func(m *machine, stack, prefix string) string {
		t.Helper()
		m.run(environment + "pulumi stack select --create " + stack + "; make secrets STACK=" + stack)
		return m.run(environment + `(until kubectl create secret tls edge --namespace=` + prefix + `edge --cert=state/edge.crt --key=state/edge.key; do sleep 1; done) >/dev/null 2>&1 &
			pulumi up --yes --skip-preview --non-interactive --stack ` + stack)
	}
	staging.run(environment + "pulumi stack select --create staging; pulumi stack select --create production; make secrets STACK=production")
	production.refuses(environment+"pulumi preview --non-interactive --stack production", "platform:deadMansSwitchUrl: missing: production wants")
	staging.run(environment + receivers)
	production.refuses(environment+"pulumi preview --non-interactive --stack production", "run `pulumi up --stack staging` first")
	up(staging, "staging", "")
	staging.refuses(environment+"pulumi preview --non-interactive --stack production", "leads to the cluster of stack staging")
	production.run(environment + "kubectl apply -f - <<'EOF'\n" + foreign + "\nEOF\nkubectl rollout status deployment/kube-state-metrics --namespace monitoring")
	theirs := production.run(environment + foreignObjects)
	for _, name := range []string{"Namespace monitoring", "ConfigMap monitoring/prometheus", "Deployment monitoring/kube-state-metrics", "PriorityClass platform-data", "ClusterRole platform-prometheus"} {
		production.refuses(environment+"pulumi up --yes --skip-preview --non-interactive --stack production", name+" exists, and stack production didn't create it")
	}
	if now := production.run(environment + foreignObjects + "; kubectl get namespace apps 2>&1 || true"); !strings.HasPrefix(now, theirs) || !strings.Contains(now, `"apps" not found`) {
		t.Fatalf("the other team's objects are\n%s\nwant\n%s", now, theirs)
	}
	production.run(environment + "pulumi config set platform:namespacePrefix " + prefix + " --stack production")
	if printed := up(production, "production", prefix); strings.Contains(printed, "docker:index") {
		t.Errorf("production builds images:\n%s", printed)
	}
	first := running(t, staging, environment, "staging")
	if found := running(t, production, environment, "production"); len(first) < 4 || !maps.Equal(found, first) {
		t.Fatalf("production runs %v\nand staging %v", found, first)
	}

	if err := clone.Differ(variant.All, "the next version"); err != nil {
		t.Fatal(err)
	}
	staging.run(environment + "bin/release -stack staging -unwatched up")
	second := running(t, staging, environment, "staging")
	for service := range first {
		if second[service] == first[service] {
			t.Errorf("staging still runs %s %s", service, first[service])
		}
	}
	// Production is under load.
	stop := production.begin("trap : INT; bin/load -ca state/edge.crt -rate 60 -for 5m && echo all is there")
	production.run(environment + "bin/release -stack production -watch 35s promote")
	if found := running(t, production, environment, "production"); !maps.Equal(found, second) {
		t.Errorf("production runs %v\nand staging %v", found, second)
	}
	production.refuses(environment+"bin/release -stack staging rollback", "the stack was never deployed to this cluster")
	production.run(environment + "bin/release -stack production rollback")
	if found := running(t, production, environment, "production"); !maps.Equal(found, first) {
		t.Errorf("after the rollback production runs %v, want %v", found, first)
	}
	used := stop()
	lines := strings.Split(strings.TrimSpace(used), "\n")
	t.Log(strings.Join(lines[max(0, len(lines)-2):], "\n"))
	if !strings.HasSuffix(used, "all is there\n") {
		t.Errorf("the load failed:\n%s", used)
	}
	production.run(environment + "pulumi config set platform:protectData false --stack production; pulumi up --yes --skip-preview --non-interactive --stack production; " +
		"pulumi destroy --yes --skip-preview --non-interactive --stack production")
	if now := production.run(environment + foreignObjects); now != theirs {
		t.Errorf("after the stack is destroyed, the other team's objects are\n%s\nwant\n%s", now, theirs)
	}
	if left := production.run(environment + "kubectl get namespaces,priorityclasses,clusterroles --output name | grep shop- || true"); left != "" {
		t.Errorf("the destroyed stack leaves %s", left)
	}
}
