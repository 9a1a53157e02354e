// Package node runs a Kubernetes cluster on this machine: etcd, the control plane, kubelet and containerd as supervised processes, a
// bridge for the pods, and a registry for images. It has one node, or more in namespaces of their own. All files are in one folder, and
// Remove leaves no trace.
package node

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"platform.example/local/layout"
	"platform.example/local/progress"
	"platform.example/local/supervisor"
	"platform.example/local/toolchain"
)

// Names and addresses of the node. All components listen on loopback or on the bridge.
const (
	// Name is the name of the first node in Kubernetes, of the cluster in kubeconfigs, of the CNI network, and of the cgroup
	// that contains the pods.
	Name = "platform"
	// Registry is the address of the registry, for pushes and pulls.
	Registry = "127.0.0.1:5100"
	// StorageClass is the default storage class.
	StorageClass = "local"

	bridge         = "platform0"
	nodePortRange  = "30000-32767"
	apiServerPort  = "6443"
	etcdClientPort = "2379"
)

// family is the addresses of one IP family.
type family struct {
	iptables       string // the command
	bridge         string // address of the node; the control plane listens on that of the first family
	length         int    // of the bridge's prefix
	pods, firstPod string // CIDR, address
	services       string // CIDR
	api, dns       string // addresses of Services
}

var (
	ipv4 = family{iptables: "iptables", bridge: "10.231.0.1", length: 24, pods: "10.231.0.0/24", firstPod: "10.231.0.10",
		services: "10.232.0.0/24", api: "10.232.0.1", dns: "10.232.0.10"}
	ipv6 = family{iptables: "ip6tables", bridge: "fd10:231::1", length: 64, pods: "fd10:231::/64", firstPod: "fd10:231::10",
		services: "fd10:232::/112", api: "fd10:232::1", dns: "fd10:232::a"}
)

// ports must be free before the node starts, each with the component that uses it. The control plane's own ports are on the
// bridge, where no other program can listen.
var ports = []struct{ component, address string }{
	{"registry", Registry},
	{"etcd", "127.0.0.1:" + etcdClientPort},
	{"etcd", "127.0.0.1:2380"},
	{"etcd", "127.0.0.1:2381"},
	{"kubelet", "127.0.0.1:10248"},
	{"kube-proxy", "127.0.0.1:10249"},
	{"kube-proxy", "127.0.0.1:10256"},
	{"kube-controller-manager", "127.0.0.1:10257"},
	{"kube-scheduler", "127.0.0.1:10259"},
}

// Node is a node of the cluster on this machine. The first one also runs the control plane.
type Node struct {
	number     int // 1 is the first one
	layout     layout.Layout
	log        *progress.Log
	tools      *toolchain.Builder
	supervisor *supervisor.Client
	// Docker is the address of the Docker Engine once the node is up: the machine's, or the node's own.
	Docker string
}

// New returns the node without starting it.
func New(l layout.Layout, tools *toolchain.Builder, log *progress.Log) *Node {
	return &Node{number: 1, layout: l, log: log, tools: tools, supervisor: supervisor.Connect(SupervisorConfig(l))}
}

// SupervisorConfig returns the configuration of the node's supervisor.
func SupervisorConfig(l layout.Layout) supervisor.Config {
	return supervisor.Config{Socket: l.Socket(), Logs: l.Logs()}
}

func (n *Node) path(parts ...string) string {
	folder := n.layout.Node()
	if n.number > 1 {
		folder = filepath.Join(folder, "nodes", strconv.Itoa(n.number))
	}
	return filepath.Join(append([]string{folder}, parts...)...)
}

func (n *Node) containerdSocket() string { return n.path("run", "containerd.sock") }

// dualStack is the path of the file that marks a dual-stack node.
func (n *Node) dualStack() string { return filepath.Join(n.layout.Node(), "dual-stack") }

// families returns the IP families of the node; Services of a single family use the first one.
func (n *Node) families() []family {
	if _, err := os.Stat(n.dualStack()); err == nil {
		return []family{ipv6, ipv4}
	}
	return []family{ipv4}
}

// address is the address of the control plane.
func (n *Node) address() string { return n.families()[0].bridge }

// list joins one value per IP family of the node with commas.
func (n *Node) list(value func(family) string) string {
	var values []string
	for _, f := range n.families() {
		values = append(values, value(f))
	}
	return strings.Join(values, ",")
}

func (n *Node) apiServer() string { return "https://" + net.JoinHostPort(n.address(), apiServerPort) }

// reserved reports whether an address belongs to the node's pods or services.
func reserved(address netip.Addr) bool {
	return slices.ContainsFunc([]string{ipv4.pods, ipv4.services, ipv6.pods, ipv6.services}, func(network string) bool {
		return netip.MustParsePrefix(network).Contains(address)
	})
}
