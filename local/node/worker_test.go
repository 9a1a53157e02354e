package node

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestNumberOfNodes(t *testing.T) {
	for _, c := range []struct {
		name           string
		current, count int
		running        bool
		want           int
		refused        string
	}{
		{"a new cluster", 1, 3, false, 3, ""},
		{"a new cluster of two", 1, 2, false, 2, ""},
		{"no number keeps the nodes", 3, 0, true, 3, ""},
		{"the same number", 3, 3, true, 3, ""},
		{"one more", 2, 3, false, 3, ""},
		{"while it runs", 1, 3, true, 1, "make stop"},
		{"fewer", 3, 1, false, 3, "make down"},
		{"none", 1, -1, false, 1, "want 1 to 3"},
		{"too many", 1, 4, false, 1, "want 1 to 3"},
	} {
		n, _ := described(t)
		if c.current > 1 {
			if err := n.resize(c.current, false); err != nil {
				t.Fatal(err)
			}
		}
		err := n.resize(c.count, c.running)
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v, want %q", c.name, err, c.refused)
		}
		if got := len(n.workers()) + 1; got != c.want {
			t.Errorf("%s: %d nodes, want %d", c.name, got, c.want)
		}
	}
}

func TestSeveralNodesHaveOnlyIPv4(t *testing.T) {
	n, _ := described(t)
	if err := n.Up(t.Context(), "", true, 3); !errors.Is(err, errIPv4Nodes) || len(n.families()) > 1 {
		t.Errorf("a new dual-stack cluster of three nodes: %v", err)
	}
	if err := os.WriteFile(n.dualStack(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.resize(3, false); err == nil || !strings.Contains(err.Error(), "IPv4") {
		t.Errorf("a dual-stack cluster of three nodes: %v", err)
	}
}

func TestNodesShareNothingButTheNetwork(t *testing.T) {
	n, issued := described(t)
	if err := n.resize(3, false); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, node := range append([]*Node{n}, n.workers()...) {
		s := node.settings(issued)
		for what, value := range map[string]string{
			"name": s.Name, "folder": s.State, "socket": s.ContainerdSocket, "address": s.Address, "pods": s.PodAddresses, "zone": s.Zone, "kubeconfig": node.kubeconfig("kubelet"),
		} {
			if other, taken := seen[what+value]; taken || value == "" {
				t.Errorf("%s %q of %s belongs to %s", what, value, node.name(), other)
			}
			seen[what+value] = node.name()
		}
		if hosts := node.kubeletSubject().Hosts; !slices.Equal(hosts, []string{s.Name, s.Address}) {
			t.Errorf("the certificate of the kubelet of %s is for %v", node.name(), hosts)
		}
	}
	worker, err := n.worker("3")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range worker.workerComponents(issued) {
		names = append(names, c.name+worker.suffix())
	}
	if want := []string{"socat-3", "containerd-3", "kubelet-3", "kube-proxy-3", "kube-router-3"}; !slices.Equal(names, want) {
		t.Errorf("components %v, want %v", names, want)
	}
}

func TestUnknownNodesAreRefused(t *testing.T) {
	n, _ := described(t)
	if err := n.Kill(t.Context(), "2"); err == nil || !strings.Contains(err.Error(), "NODES=3") {
		t.Errorf("node 2 of 1: %v", err)
	}
	if err := n.resize(3, false); err != nil {
		t.Fatal(err)
	}
	for _, number := range []string{"", "1", "4", "platform-2"} {
		if err := n.Drain(t.Context(), number); err == nil || !strings.Contains(err.Error(), "from 2 to 3") {
			t.Errorf("node %q: %v", number, err)
		}
	}
}

// The script runs in namespaces of the test, with a bridge of its own.
func TestNamespacesOfAnInterruptedRunAreReplaced(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can create namespaces")
	}
	for _, tool := range []string{"ip", "iptables", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		t.Skip("no br_netfilter")
	}
	if printed, err := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("no namespaces for this user: %v: %s", err, printed)
	}
	const prepare = `
		ip link add bridge0 type bridge && ip address add 10.231.0.1/24 dev bridge0 && ip link set bridge0 up
		cd "$1"
		worker() { sh -c "$script" worker.sh "$PWD" "$PWD/nodes/2" worker2 10.231.0.2/24 10.231.0.1 bridge0 10.232.0.0/24 "$PWD/stray"; }
		inside() { nsenter --net=nodes/2/run/namespaces/net --mount=nodes/2/run/namespaces/mnt "$@"; }
		worker
		first=$(cat nodes/2/run/namespaces/complete)
		worker
		[ "$(cat nodes/2/run/namespaces/complete)" = "$first" ] || { echo "a second run replaces them"; exit 1; }
		`
	for name, interruption := range map[string]string{
		"node-kill, after the link went down": `ip link set worker2 down; worker
			[ "$(cat nodes/2/run/namespaces/complete)" = "$first" ] || { echo "they are replaced"; exit 1; }`,
		"node-kill, after its mounts were gone": `inside sleep 3 >/dev/null 2>&1 &
			sleep 0.5; umount --lazy nodes/2/run/namespaces/net nodes/2/run/namespaces/mnt nodes/2/run/namespaces/machine nodes/2/run/namespaces; worker
			[ "$(cat nodes/2/run/namespaces/complete)" != "$first" ] || { echo "they have the id of the former ones"; exit 1; }`,
		"make up, before the network was complete": `rm nodes/2/run/namespaces/complete; inside ip address flush dev bridge0; worker`,
	} {
		command := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "--propagation", "private", "sh", "-euc",
			prepare+interruption+`
			[ "$(inside ip -o -4 address show dev bridge0 | awk '{print $4}')" = 10.231.0.2/24 ] || { echo "no address"; exit 1; }
			ip link show worker2 | grep -q ',UP' || { echo "the link is down"; exit 1; }`, "sh", t.TempDir())
		command.Env = append(os.Environ(), "script="+workerScript)
		if printed, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, printed)
		}
	}
}

func TestWorkersRestartInOtherNamespaces(t *testing.T) {
	n, issued := described(t)
	if err := n.resize(2, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range n.workers()[0].workerComponents(issued) {
		if !slices.Contains(c.reads, n.workers()[0].path("run", "namespaces", "complete")) {
			t.Errorf("%s keeps running in the former namespaces", c.name)
		}
	}
}
