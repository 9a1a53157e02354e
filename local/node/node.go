// Package node runs a one-node Kubernetes on this machine: etcd, the control
// plane, kubelet and containerd as supervised processes, a bridge for the pods and
// a registry for images. All of it lives in one folder and goes away without a trace.
package node

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"platform.example/local/layout"
	"platform.example/local/progress"
	"platform.example/local/supervisor"
	"platform.example/local/toolchain"
)

// Names and addresses of the node. Everything listens on loopback or on the bridge.
const (
	// Name is the node's name in Kubernetes, the cluster's in kubeconfigs, the CNI
	// network's and the name of the cgroup that holds all pods.
	Name = "platform"
	// Registry is where images are pushed to and pulled from.
	Registry = "127.0.0.1:5100"
	// StorageClass is the default one.
	StorageClass = "local"

	bridge         = "platform0"
	nodePortRange  = "30000-32767"
	apiServerPort  = "6443"
	etcdClientPort = "2379"
)

// family is the node's addresses of one IP family.
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

// ports are what must be free before the node starts, by the component that wants them.
// The control plane's own are on the bridge, where nobody else can listen.
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

// Node is the one on this machine.
type Node struct {
	layout     layout.Layout
	log        *progress.Log
	tools      *toolchain.Builder
	supervisor *supervisor.Client
	// docker is the address of the Docker Engine: the machine's, or one of our own.
	docker string
}

// New describes the node; nothing runs yet.
func New(l layout.Layout, tools *toolchain.Builder, log *progress.Log) *Node {
	return &Node{layout: l, log: log, tools: tools, supervisor: supervisor.Connect(SupervisorConfig(l))}
}

// SupervisorConfig is the configuration of the node's supervisor.
func SupervisorConfig(l layout.Layout) supervisor.Config {
	return supervisor.Config{Socket: l.Socket(), Logs: l.Logs()}
}

// Docker is the address of the Docker Engine once the node is up.
func (n *Node) Docker() string { return n.docker }

func (n *Node) path(parts ...string) string {
	return filepath.Join(append([]string{n.layout.Node()}, parts...)...)
}

func (n *Node) containerdSocket() string { return n.path("run", "containerd.sock") }

// dualStack is the file that marks a node with IPv6 addresses.
func (n *Node) dualStack() string { return n.path("dual-stack") }

// families are the IP families of the node, the first of Services first.
func (n *Node) families() []family {
	if _, err := os.Stat(n.dualStack()); err == nil {
		return []family{ipv6, ipv4}
	}
	return []family{ipv4}
}

// address is the one on which the control plane listens.
func (n *Node) address() string { return n.families()[0].bridge }

// list is one value of each family of the node, with commas between.
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
