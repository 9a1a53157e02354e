package smoke

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// source is a pod that opens connections, with the labels of one of the platform's pods.
type source struct{ name, namespace, owner string }

// target is an address that the sources try to reach.
type target struct{ name, address string }

// reachable lists the allowed targets of each source, independently of the code: the catalog's calls and stores. All sources reach
// DNS, except those without any egress to names.
func reachable() map[string][]string {
	return map[string][]string{
		"api-gateway":          {"api-gateway", "user-service", "order-service", "notification-service", "redis-cache", "dns"},
		"user-service":         {"user-service", "postgres", "redis-cache", "redis-stream", "dns"},
		"order-service":        {"order-service", "postgres", "redis-stream", "dns"},
		"notification-service": {"notification-service", "postgres", "redis-stream", "dns"},
		// Every pod may connect to the edge; among pods of one policy, the node's enforcer also allows the return direction.
		"edge": {"api-gateway", "dns", "the edge"},
		// Its instances replicate each other, and request their Cluster from the API server.
		"postgres":          {"postgres", "object-store", "the API server", "the node's API server", "dns"},
		"postgres-operator": {"the API server", "the node's API server", "dns"},
		"postgres-setup":    {"postgres", "dns"},
		"redis-cache-setup": {"redis-cache", "dns"},
		// Prometheus scrapes all components: the metrics ports of services, and Kubernetes' own components.
		"prometheus": append(metrics(), "prometheus", "alertmanager", "kube-state-metrics", "metrics-server",
			"the edge", "the API server", "the node's API server", "the kubelet", "dns"),
		"alertmanager":             {"dns"},
		"kube-state-metrics":       {"the API server", "the node's API server", "dns"},
		"kube-state-metrics-nodes": {"the API server", "the node's API server", "dns"},
		"node-exporter":            nil,
		"postgres-exporter":        {"postgres", "dns"},
		"stranger":                 nil,
	}
}

// metrics returns the names of the services' metrics ports.
func metrics() []string {
	var all []string
	for _, service := range kit.ServiceNames() {
		all = append(all, "the metrics of "+service)
	}
	return all
}

func TestNetworkPoliciesAllowOnlyTheCatalogsCalls(t *testing.T) {
	sources := []source{
		{"edge", "edge", "edge"}, {"postgres", "data", "postgres"}, {"postgres-setup", "data", "postgres-setup"},
		{"postgres-operator", "data", "postgres-operator"},
		{"redis-cache-setup", "data", "redis-cache-setup"}, {"stranger", "apps", ""},
	}
	for _, watcher := range []string{"prometheus", "alertmanager", "kube-state-metrics", "kube-state-metrics-nodes", "node-exporter", "postgres-exporter"} {
		sources = append(sources, source{watcher, "monitoring", watcher})
	}
	targets := []target{
		{"postgres", "postgres.data.svc.cluster.local:5432"}, {"redis-cache", "redis-cache.data.svc.cluster.local:6379"},
		{"redis-stream", "redis-stream.data.svc.cluster.local:6379"}, {"object-store", "object-store.data.svc.cluster.local:7070"}, {"dns", "kube-dns.kube-system.svc.cluster.local:53"},
		{"the edge", "edge.edge.svc.cluster.local:443"}, {"the API server", "kubernetes.default.svc.cluster.local:443"},
		{"metrics-server", "metrics-server.kube-system.svc.cluster.local:443"},
		{"prometheus", "prometheus.monitoring.svc.cluster.local:9090"}, {"alertmanager", "alertmanager.monitoring.svc.cluster.local:9093"},
		{"kube-state-metrics", "kube-state-metrics.monitoring.svc.cluster.local:8080"},
	}
	for _, service := range kit.ServiceNames() {
		sources = append(sources, source{service, "apps", service})
		targets = append(targets, target{service, service + ".apps.svc.cluster.local:8080"})
	}
	node := kit.NodeAddresses(t)[0]
	addresses := map[string]string{ // IP addresses, for sources without DNS
		"the metadata address": "169.254.169.254:80", "the node's API server": netip.AddrPortFrom(node, 6443).String(), "the kubelet": netip.AddrPortFrom(node, 10250).String(),
		"the internet": "192.0.2.1:443",
	}
	for _, target := range targets {
		addresses[target.name] = clusterAddress(t, target.address)
	}
	for _, service := range kit.ServiceNames() {
		address, err := kit.Run("kubectl", "get", "pods", "--namespace=apps", "--selector=app.kubernetes.io/name="+service,
			"--field-selector=status.phase=Running", "--output=jsonpath={.items[0].status.podIP}")
		if err != nil {
			t.Fatal(err)
		}
		addresses["the metrics of "+service] = net.JoinHostPort(address, "9090")
	}

	image := kit.ShellImage(t)
	for _, source := range sources {
		startProbe(t, source, image)
	}
	for _, source := range sources {
		t.Run(source.name, func(t *testing.T) {
			want := reachable()[source.name]
			slices.Sort(want)
			// The enforcer needs a moment to learn of a new pod; a denied connection is then denied twice in a row.
			for range 2 {
				kit.Eventually(t, time.Minute, "it reaches exactly the allowed targets", func() error {
					got, err := probe(source, addresses)
					if err == nil && !slices.Equal(got, want) {
						err = fmt.Errorf("it reaches %v, want %v", got, want)
					}
					return err
				})
			}
		})
	}
	for _, service := range kit.ServiceNames() {
		if err := kit.Ready(service); err != nil {
			t.Errorf("the policies block the kubelet's probes: %v", err)
		}
	}
}

// clusterAddress returns the IP address and port of a Service.
func clusterAddress(t *testing.T, name string) string {
	t.Helper()
	host, port, _ := strings.Cut(name, ":")
	parts := strings.Split(host, ".")
	address := kit.Output(t, "kubectl", "get", "service", parts[0], "--namespace="+parts[1], "--output=jsonpath={.spec.clusterIP}")
	return net.JoinHostPort(address, port)
}

// startProbe starts a pod that waits for commands.
func startProbe(t *testing.T, from source, image string) {
	t.Helper()
	labels := "e2e: probe"
	if from.owner != "" {
		labels += ", platform.example/of: " + from.owner
	}
	manifest := fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: e2e-%s, namespace: %s, labels: {%s}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 999, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: probe
    image: %s
    command: [sleep, "600"]
    resources: {requests: {cpu: 5m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`, from.name, from.namespace, labels, image)
	kit.StartPod(t, from.namespace, "e2e-"+from.name, manifest)
	kit.Output(t, "kubectl", "wait", "pod", "e2e-"+from.name, "--namespace="+from.namespace, "--for=condition=Ready", "--timeout=60s")
}

// probe connects to all addresses at once and returns the names of those that accept.
func probe(from source, addresses map[string]string) ([]string, error) {
	var script strings.Builder
	names := slices.Sorted(maps.Keys(addresses))
	for i, name := range names {
		host, port, err := net.SplitHostPort(addresses[name])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&script, "(timeout 2 bash -c 'exec 3<>/dev/tcp/%s/%s' 2>/dev/null && echo %d) &\n", host, port, i)
	}
	script.WriteString("wait\necho done\n")
	printed, err := kit.Feed(script.String(), "kubectl", "exec", "--stdin", "--namespace="+from.namespace, "e2e-"+from.name, "--", "bash")
	if err != nil {
		return nil, err
	}
	lines := strings.Fields(printed)
	if len(lines) == 0 || lines[len(lines)-1] != "done" {
		return nil, errors.New("the probe was interrupted")
	}
	reached := []string{}
	for _, line := range lines[:len(lines)-1] {
		var index int
		if _, err := fmt.Sscan(line, &index); err != nil {
			return nil, err
		}
		reached = append(reached, names[index])
	}
	slices.Sort(reached)
	return reached, nil
}
