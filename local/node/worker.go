package node

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"platform.example/local/file"
	"platform.example/local/pki"
)

// podRanges are the addresses of each node's pods, as the last bytes of IPv4 addresses, and the largest number of pods. The nodes share one
// network, so there are no more nodes than ranges. Addresses of ended pods become free some time later.
var podRanges = map[int]struct{ first, last, pods int }{1: {10, 127, 100}, 2: {128, 190, 50}, 3: {191, 254, 50}}

// workerScript creates the namespaces of a further node.
//
//go:embed worker.sh
var workerScript string

// countFile is the path of the file with the number of nodes. A single node has none.
func (n *Node) countFile() string { return filepath.Join(n.layout.Node(), "count") }

// workers returns the further nodes of the cluster, which run on the same machine: each has a network and a mount namespace of its own, a
// cgroup for its pods, and its own containerd, kubelet, kube-proxy and kube-router.
func (n *Node) workers() []*Node {
	content, _ := os.ReadFile(n.countFile())
	count, _ := strconv.Atoi(string(content)) // 0 without the file
	var workers []*Node
	for number := 2; number <= count; number++ {
		worker := *n
		worker.number = number
		workers = append(workers, &worker)
	}
	return workers
}

// Count is the number of nodes of the cluster.
func (n *Node) Count() int { return len(n.workers()) + 1 }

// worker returns the further node with that number.
func (n *Node) worker(number string) (*Node, error) {
	workers := n.workers()
	for _, worker := range workers {
		if strconv.Itoa(worker.number) == number {
			return worker, nil
		}
	}
	if len(workers) == 0 {
		return nil, errors.New("the cluster has a single node: make stop keeps its data, and make up NODES=3 starts it with more")
	}
	return nil, fmt.Errorf("node N=%s: want one from 2 to %d; the first one runs the control plane", number, len(workers)+1)
}

var errIPv4Nodes = errors.New("several nodes have only IPv4 addresses: use NODES without IPV6, on a cluster that was made without it")

// resize records the number of nodes to start; 0 keeps the number.
func (n *Node) resize(count int, running bool) error {
	switch current := n.Count(); {
	case count == 0, count == current:
		return nil
	case count < 1 || count > len(podRanges):
		return fmt.Errorf("NODES=%d: want 1 to %d nodes", count, len(podRanges))
	case len(n.families()) > 1:
		return errIPv4Nodes
	case count < current:
		return fmt.Errorf("NODES=%d: the cluster has %d nodes, and the volumes of some pods are on them: delete it with make down first", count, current)
	case running:
		return fmt.Errorf("NODES=%d: %d run, and their pods use the addresses of the others: run make stop, which keeps the data, and then make up NODES=%[1]d",
			count, current)
	}
	if err := os.MkdirAll(n.layout.Node(), 0o711); err != nil {
		return fmt.Errorf("the node's folder: %w", err)
	}
	return file.Write(n.countFile(), []byte(strconv.Itoa(count)), 0o600)
}

// name is the name of the node in Kubernetes, and of the cgroup that contains its pods.
func (n *Node) name() string { return Name + n.suffix() }

// suffix ends the names of the node and of its processes.
func (n *Node) suffix() string {
	if n.number == 1 {
		return ""
	}
	return fmt.Sprintf("-%d", n.number)
}

// nodeNetwork contains the addresses of the nodes, as which the pods of further nodes leave them.
const nodeNetwork = "10.231.0.0/29"

// addresses returns the addresses of the node, one per IP family. The control plane listens on the first address of the first node.
func (n *Node) addresses() []string {
	if n.number > 1 {
		return []string{fmt.Sprintf("10.231.0.%d", n.number)}
	}
	return strings.Split(n.list(func(f family) string { return f.bridge }), ",")
}

// podAddresses returns the ranges of the pods' addresses, in the format of host-local.
func (n *Node) podAddresses() string {
	if len(n.workers()) == 0 {
		return n.list(func(f family) string { return fmt.Sprintf(`[{"subnet": %q, "rangeStart": %q}]`, f.pods, f.firstPod) })
	}
	pods := podRanges[n.number]
	return fmt.Sprintf(`[{"subnet": %q, "rangeStart": "10.231.0.%d", "rangeEnd": "10.231.0.%d", "gateway": %q}]`,
		ipv4.pods, pods.first, pods.last, n.addresses()[0])
}

// zone returns the zone of the node, which is the only one in it. A single node is in no zone.
func (n *Node) zone() string {
	if len(n.workers()) == 0 {
		return ""
	}
	return fmt.Sprintf("zone-%d", n.number)
}

// labels returns the arguments of the kubelet for the labels of the node in Kubernetes.
func (n *Node) labels() []string {
	if n.zone() == "" {
		return nil
	}
	return []string{"--node-labels", "topology.kubernetes.io/zone=" + n.zone()}
}

// namespaces returns the beginning of a command that runs in the node's namespaces.
func (n *Node) namespaces() []string {
	if n.number == 1 {
		return nil
	}
	folder := n.path("run", "namespaces")
	return []string{"nsenter", "--net=" + filepath.Join(folder, "net"), "--mount=" + filepath.Join(folder, "mnt")}
}

// workerPrograms are the programs of a further node, in the order in which they start.
var workerPrograms = []string{"socat", "containerd", "kubelet", "kube-proxy", "kube-router"}

// workerComponents returns the processes of a further node.
func (n *Node) workerComponents(c credentials) []component {
	// The registry listens on the loopback interface of the first node.
	forward := component{name: "socat", args: []string{"TCP-LISTEN:5100,bind=127.0.0.1,fork,reuseaddr",
		"EXEC:nsenter --net=" + n.path("run", "namespaces", "machine") + " socat - TCP\\:127.0.0.1\\:5100"}}
	components := append([]component{forward}, slices.DeleteFunc(n.components(c), func(c component) bool {
		return !slices.Contains(workerPrograms, c.name)
	})...)
	for i := range components {
		components[i].reads = append(components[i].reads, n.path("run", "namespaces", "complete"))
	}
	return components
}

// startWorker starts this further node, or repairs a running one.
func (n *Node) startWorker(ctx context.Context, c credentials, sandboxImage string) error {
	if err := os.MkdirAll(n.path(), 0o711); err != nil {
		return fmt.Errorf("the node's folder: %w", err)
	}
	var err error
	if c.Kubelet, err = c.Cluster.Issue("kubelet"+n.suffix(), n.kubeletSubject()); err != nil {
		return err
	}
	if err := errors.Join(n.writeKubeconfigs(c), makeCgroup(n.name())); err != nil {
		return err
	}
	script := exec.CommandContext(ctx, "sh", append([]string{"-c", workerScript, "worker.sh", n.layout.Node(), n.path(), n.name(),
		fmt.Sprintf("%s/%d", n.addresses()[0], ipv4.length), ipv4.bridge, bridge, ipv4.services}, strayFolders...)...)
	script.Env = append(os.Environ(), "PATH="+n.componentsPath())
	if output, err := script.CombinedOutput(); err != nil {
		return fmt.Errorf("namespaces of node %s: %w: %s", n.name(), err, output)
	}
	s := n.settings(c)
	s.SandboxImage = sandboxImage
	if err := n.writeConfig(s, "config"); err != nil {
		return err
	}
	for _, component := range n.workerComponents(c) {
		if err := n.start(ctx, component); err != nil {
			return err
		}
	}
	return nil
}

// kubeletSubject is the subject of the kubelet's certificate.
func (n *Node) kubeletSubject() pki.Subject {
	return pki.Subject{CommonName: "system:node:" + n.name(), Organization: "system:nodes", Hosts: append([]string{n.name()}, n.addresses()...)}
}

// Start starts the further node with that number, or repairs it, and lets pods run on it.
func (n *Node) Start(ctx context.Context, number string) error {
	worker, err := n.worker(number)
	if err != nil {
		return err
	}
	issued, err := n.issue()
	if err != nil {
		return err
	}
	config, err := os.ReadFile(n.path("config", "containerd.toml"))
	if err != nil {
		return fmt.Errorf("configuration of the first node: %w", err)
	}
	_, rest, _ := strings.Cut(string(config), `sandbox_image = "`)
	sandboxImage, _, _ := strings.Cut(rest, `"`)
	if err := worker.startWorker(ctx, issued, sandboxImage); err != nil {
		return err
	}
	return n.kubectl(ctx, nil, "uncordon", worker.name())
}

// Kill ends the further node with that number like a power failure: its network first, then all of its processes at once. Its data is kept.
func (n *Node) Kill(ctx context.Context, number string) error {
	worker, err := n.worker(number)
	if err != nil {
		return err
	}
	if err := run(ctx, "ip", "link", "set", worker.name(), "down"); err != nil {
		return fmt.Errorf("node %s doesn't run: %w", worker.name(), err)
	}
	return worker.end(ctx, 0)
}

// Drain evicts the pods of the further node with that number, as before an upgrade, until Start.
func (n *Node) Drain(ctx context.Context, number string) error {
	worker, err := n.worker(number)
	if err != nil {
		return err
	}
	return n.kubectl(ctx, nil, "drain", worker.name(), "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=5m")
}

// end ends the processes of this further node. Its pods have this long to end cleanly.
func (n *Node) end(ctx context.Context, grace time.Duration) error {
	ctx = context.WithoutCancel(ctx) // a half-ended node would keep processes in namespaces that nothing can enter
	stop := func(component string) error { return ignoreAbsent(n.supervisor.Stop(ctx, component+n.suffix())) }
	faults := []error{stop("kubelet"), emptyCgroup(n.name(), grace)}
	for _, component := range slices.Backward(workerPrograms) { // the kubelet is gone already
		faults = append(faults, stop(component))
	}
	n.endShims()
	_ = run(ctx, "ip", "link", "delete", n.name()) // else the kernel deletes it some time after the namespace
	return errors.Join(append(faults, emptyCgroup(n.name(), 0), n.unmount(), os.RemoveAll(n.path("run")))...)
}
