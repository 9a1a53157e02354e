// Package node runs a one-node Kubernetes on this machine: etcd, the control
// plane, kubelet and containerd as supervised processes, a bridge for the pods and
// a registry for images. All of it lives in one folder and goes away without a trace.
package node

import (
	"net/netip"
	"path/filepath"

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
	bridgeAddress  = "10.231.0.1"
	bridgePrefix   = bridgeAddress + "/24"
	podRange       = "10.231.0.0/24"
	serviceRange   = "10.232.0.0/24"
	apiServiceIP   = "10.232.0.1"
	dnsServiceIP   = "10.232.0.10"
	nodePortRange  = "30000-32767"
	apiServerPort  = "6443"
	etcdClientPort = "2379"
)

// ports are what must be free before the node starts, by the component that wants them.
var ports = []struct{ component, address string }{
	{"registry", Registry},
	{"etcd", "127.0.0.1:" + etcdClientPort},
	{"etcd", "127.0.0.1:2380"},
	{"etcd", "127.0.0.1:2381"},
	{"kube-apiserver", bridgeAddress + ":" + apiServerPort},
	{"kubelet", "127.0.0.1:10248"},
	{"kubelet", bridgeAddress + ":10250"},
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

// reserved reports whether an address belongs to the node's pods or services.
func reserved(address netip.Addr) bool {
	return netip.MustParsePrefix(podRange).Contains(address) || netip.MustParsePrefix(serviceRange).Contains(address)
}
