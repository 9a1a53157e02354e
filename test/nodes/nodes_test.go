// Package nodes tests the platform on three nodes on this machine: make nodes-test, which starts and deletes them.
package nodes

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

// pod is what the tests read of a pod.
type pod struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct{ NodeName string }
}

// running returns the pods with these labels that run.
func running(t *testing.T, namespace, labels string) []pod {
	t.Helper()
	return kit.OutputJSON[struct{ Items []pod }](t, "kubectl", "get", "pods", "--namespace="+namespace, "--selector="+labels,
		"--field-selector=status.phase=Running", "--output=json").Items
}

// spread returns an error unless the pods with these labels run on that many nodes.
func spread(t *testing.T, namespace, labels string, want int) error {
	t.Helper()
	var nodes []string
	for _, pod := range running(t, namespace, labels) {
		nodes = append(nodes, pod.Spec.NodeName)
	}
	slices.Sort(nodes)
	if got := len(slices.Compact(slices.Clone(nodes))); got < want {
		return fmt.Errorf("pods with %s run on the nodes %v, want %d nodes", labels, nodes, want)
	}
	return nil
}

// awaitPlatform waits until each node is ready, and each service, the edge and Postgres run on several of them.
func awaitPlatform(t *testing.T) {
	t.Helper()
	kit.Output(t, "kubectl", "wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
	kit.Eventually(t, 5*time.Minute, "each workload runs on several nodes", func() error {
		for _, service := range kit.ServiceNames() {
			if err := kit.Ready(service); err != nil {
				return err
			}
			if err := spread(t, "apps", "app.kubernetes.io/name="+service, 2); err != nil {
				return err
			}
		}
		if err := spread(t, "edge", "app.kubernetes.io/name=edge", 2); err != nil {
			return err
		}
		instances, err := kit.Run("kubectl", "get", "clusters.postgresql.cnpg.io", "--namespace=data", "--output=jsonpath={.items[0].status.readyInstances}")
		if err == nil && instances != "3" {
			err = fmt.Errorf("%s instances of Postgres are ready, want 3", instances)
		}
		return err
	})
}

// nodeOf returns the number of the further node on which the primary of Postgres runs (primary), or of one on which it doesn't.
func nodeOf(t *testing.T, primary bool) string {
	t.Helper()
	pods := running(t, "data", "cnpg.io/instanceRole=primary")
	if len(pods) != 1 {
		t.Fatalf("%d pods are the primary", len(pods))
	}
	for _, number := range []string{"2", "3"} {
		if (pods[0].Spec.NodeName == "platform-"+number) == primary {
			return number
		}
	}
	t.Skip("the primary of Postgres runs on the first node, which runs the control plane")
	return ""
}

func TestNodesAreInDifferentZones(t *testing.T) {
	printed := kit.Output(t, "kubectl", "get", "nodes", `--output=jsonpath={range .items[*]}{.metadata.name}={.metadata.labels.topology\.kubernetes\.io/zone} {end}`)
	if got, want := strings.Fields(printed), []string{"platform=zone-1", "platform-2=zone-2", "platform-3=zone-3"}; !slices.Equal(got, want) {
		t.Errorf("nodes %v, want %v", got, want)
	}
	awaitPlatform(t)
	if err := spread(t, "data", "cnpg.io/podRole=instance", 3); err != nil {
		t.Error(err)
	}
}

// The firewall applies to connections from another node as well.
func TestFirewallBetweenNodes(t *testing.T) {
	store := running(t, "data", "cnpg.io/instanceRole=primary")[0]
	for _, number := range []string{"platform-2", "platform-3"} {
		if number == store.Spec.NodeName {
			continue
		}
		kit.StartPod(t, "apps", "stranger", fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger", "namespace": "apps"},
			"spec": {"nodeName": %q, "automountServiceAccountToken": false,
			"securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
			"containers": [{"name": "shell", "image": %q, "command": ["sleep", "300"], "resources": {"limits": {"cpu": "100m", "memory": "32Mi"}},
			"securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}}]}}`,
			number, kit.ShellImage(t)))
		kit.Output(t, "kubectl", "wait", "--namespace=apps", "--for=condition=Ready", "pod/stranger", "--timeout=60s")
		address := kit.Output(t, "kubectl", "get", "pod", store.Metadata.Name, "--namespace=data", "--output=jsonpath={.status.podIP}")
		if printed, err := kit.Run("kubectl", "exec", "--namespace=apps", "stranger", "--", "timeout", "3", "bash", "-c", "</dev/tcp/"+address+"/5432"); err == nil {
			t.Errorf("a pod on %s connects to Postgres on %s: %s", number, store.Spec.NodeName, printed)
		}
		return
	}
}

func TestDrainLosesNoRequest(t *testing.T) {
	awaitPlatform(t)
	number := nodeOf(t, false)
	kit.UnderLoad(t, func() map[string]string {
		kit.Output(t, "make", "node-drain", "N="+number)
		if left := running(t, "apps", "app.kubernetes.io/name"); slices.ContainsFunc(left, func(p pod) bool { return p.Spec.NodeName == "platform-"+number }) {
			t.Errorf("pods still run on node %s", number)
		}
		kit.Output(t, "make", "node-start", "N="+number)
		return nil
	})
}

// orders places orders, one after the other for each token, and returns how many it placed.
func orders(t *testing.T, tokens []string, duration time.Duration) int {
	t.Helper()
	var placed atomic.Int64
	var users sync.WaitGroup
	for _, token := range tokens {
		users.Go(func() {
			for end := time.Now().Add(duration); time.Now().Before(end); placed.Add(1) {
				if _, err := kit.Gateway().With("Idempotency-Key", rand.Text()).Expect(http.MethodPost, "/api/orders", token, kit.TwoTeas(), http.StatusCreated); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	users.Wait()
	return int(placed.Load())
}

// The throughput of orders with and without waiting for a standby, in four alternating phases.
func TestSynchronousReplicationKeepsMostOfTheThroughput(t *testing.T) {
	awaitPlatform(t)
	var tokens []string
	for range 12 {
		tokens = append(tokens, kit.Gateway().MustSignIn(t, kit.Gateway().SignUp(t)))
	}
	const with, without = "RESET synchronous_commit", "SET synchronous_commit = local"
	set := func(commit string) {
		for _, statement := range []string{"ALTER DATABASE orders " + commit, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'orders'"} {
			if _, err := kit.SQL("postgres", statement, ""); err != nil {
				t.Fatal(err)
			}
		}
		waits, err := kit.SQL("orders", "SELECT current_setting('synchronous_commit') = 'on' AND EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'quorum')", "")
		if err != nil || (waits == "t") != (commit == with) {
			t.Fatalf("after %s, a commit waits for a standby: %s (%v)", commit, waits, err)
		}
		for _, token := range tokens { // retries until the service has connected again
			if _, err := kit.Gateway().Order(token, rand.Text()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
	}
	t.Cleanup(func() { set(with) })
	placed := map[string]int{}
	for _, commit := range []string{without, with, without, with} {
		set(commit)
		placed[commit] += orders(t, tokens, 20*time.Second)
	}
	ratio := float64(placed[with]) / float64(placed[without])
	t.Logf("%d orders with synchronous replication, %d without it: %.2f", placed[with], placed[without], ratio)
	if placed[without] == 0 || ratio < .7 {
		t.Error("synchronous replication takes more than three tenths of the throughput")
	}
}

// A node that fails takes its pods away without a word. Requests that were forwarded to them fail until Kubernetes notices, and none does
// afterwards.
func TestKilledNode(t *testing.T) {
	for name, primary := range map[string]bool{"with a standby": false, "with the primary": true} {
		t.Run(name, func(t *testing.T) {
			awaitPlatform(t)
			number := nodeOf(t, primary)
			node := "platform-" + number
			run := kit.StartLoad(t)
			time.Sleep(5 * time.Second)
			killed := time.Now()
			kit.Output(t, "make", "node-kill", "N="+number)
			kit.Eventually(t, 2*time.Minute, "Kubernetes notices", func() error {
				ready, err := kit.Run("kubectl", "get", "node", node, `--output=jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
				if err == nil && ready == "True" {
					err = fmt.Errorf("%s is ready", node)
				}
				return err
			})
			t.Logf("%s is not ready after %s", node, time.Since(killed).Round(time.Second))
			kit.Eventually(t, 2*time.Minute, "the lost node pages, and nothing else", func() error {
				list, err := kit.Alerts(`severity="page"`)
				if err == nil && (len(list) != 1 || list[0]["alertname"] != "NodeNotReady" || list[0]["node"] != node) {
					err = fmt.Errorf("pages: %v", list)
				}
				return err
			})
			t.Logf("NodeNotReady pages after %s", time.Since(killed).Round(time.Second))
			if primary {
				kit.Eventually(t, 2*time.Minute, "another node has the primary", func() error {
					if now := running(t, "data", "cnpg.io/instanceRole=primary"); len(now) != 1 || now[0].Spec.NodeName == node {
						return fmt.Errorf("the primary is %v", now)
					}
					return nil
				})
			}
			time.Sleep(20 * time.Second)
			quiet := time.Now()
			time.Sleep(10 * time.Second)
			kit.Output(t, "make", "node-start", "N="+number)
			awaitPlatform(t)
			result := run.Stop()
			for _, sample := range result.Lost() {
				if sample.At.After(quiet) {
					t.Errorf("%s %s after the node was killed: status %d, %s", sample.Kind, sample.At.Sub(killed), sample.Status, sample.Err)
				}
			}
			if lost := kit.EndOutage(t, run, 0, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout); lost > 0 {
				t.Logf("the first request failed %s after the node was killed", result.Lost()[0].At.Sub(killed))
			}
		})
	}
}
