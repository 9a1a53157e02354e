package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"platform.example/local/supervisor"
	"platform.example/local/toolchain"
)

// provisioner is the name of the provisioner in the storage class.
const provisioner = "platform.example/folder"

// component is one supervised process of the node.
type component struct {
	// name is also the name of the program, from the toolchain or a Debian package.
	name string
	args []string
	env  []string
	// nice is the niceness, as in nice(1).
	nice int
	// reads are the files that the process reads at its start; it is restarted when they change.
	reads []string
}

// ahead is the niceness of the components that control the traffic. They do little, but must do it at once even on a busy machine,
// because new pods and switched colours wait for them.
const ahead = -10

// health maps a component to a URL that returns 200 while it is healthy, or to unix:<socket>. A component without an entry is
// healthy while it runs.
func (n *Node) health(component string) string {
	if n.number > 1 && component != "containerd" {
		return "" // it listens on another loopback interface
	}
	return map[string]string{
		"registry":                "http://" + Registry + "/v2/",
		"containerd":              "unix:" + n.containerdSocket(),
		"dockerd":                 "unix:" + n.dockerSocket(),
		"etcd":                    "http://127.0.0.1:2381/health",
		"kube-apiserver":          n.apiServer() + "/readyz",
		"kube-controller-manager": "https://127.0.0.1:10257/healthz",
		"kube-scheduler":          "https://127.0.0.1:10259/healthz",
		"kubelet":                 "http://127.0.0.1:10248/healthz",
		"kube-proxy":              "http://127.0.0.1:10256/healthz",
	}[component]
}

// components returns the node's processes in the order in which they start.
func (n *Node) components(c credentials) []component {
	config := func(name string) string { return n.path("config", name) }
	services := n.list(func(f family) string { return f.services })
	return []component{
		{name: "registry", args: []string{"serve", config("registry.yaml")}, reads: []string{config("registry.yaml")},
			// Without an endpoint, its tracing export would log errors continuously.
			env: []string{"OTEL_TRACES_EXPORTER=none"}},
		{name: "containerd", args: []string{"--config", config("containerd.toml")},
			reads: []string{config("containerd.toml")}},
		{name: "etcd", nice: ahead, args: n.etcdArgs(c), reads: []string{c.etcdServer.Cert, c.etcd.CertFile()}},
		{name: "kube-apiserver", nice: ahead, args: n.apiServerArgs(c),
			reads: []string{c.apiServer.Cert, c.Cluster.CertFile(), c.encryption, config("audit.yaml")}},
		{name: "kube-controller-manager", nice: ahead, args: n.controllerManagerArgs(c),
			reads: []string{n.kubeconfig("kube-controller-manager")}},
		{name: "kube-scheduler", args: []string{
			"--kubeconfig", n.kubeconfig("kube-scheduler"), "--bind-address", "127.0.0.1", "--leader-elect=false",
			"--authentication-kubeconfig", n.kubeconfig("kube-scheduler"), "--authorization-kubeconfig", n.kubeconfig("kube-scheduler"),
			"--tls-cert-file", c.scheduler.Cert, "--tls-private-key-file", c.scheduler.Key,
		}, reads: []string{n.kubeconfig("kube-scheduler")}},
		{name: "kubelet", args: append([]string{
			"--config", config("kubelet.yaml"), "--kubeconfig", n.kubeconfig("kubelet"), "--root-dir", n.path("kubelet"),
			"--cert-dir", n.path("kubelet", "pki"), "--hostname-override", n.name(), "--node-ip", strings.Join(n.addresses(), ","),
			"--containerd", n.containerdSocket(), // its metrics look up the containers of cgroups there
		}, n.labels()...), reads: []string{config("kubelet.yaml"), n.kubeconfig("kubelet")}},
		{name: "kube-proxy", nice: ahead, args: []string{"--config", config("kube-proxy.yaml")},
			reads: []string{config("kube-proxy.yaml"), n.kubeconfig("kube-proxy")}},
		{name: "kube-router", nice: ahead, args: []string{
			"--kubeconfig", n.kubeconfig("kube-router"), "--hostname-override", n.name(),
			"--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--run-loadbalancer=false",
			"--service-cluster-ip-range", services, fmt.Sprintf("--enable-ipv6=%t", len(n.families()) > 1),
			"--service-node-port-range", strings.Replace(nodePortRange, "-", ":", 1),
			// Its health endpoint would listen on every interface.
			"--health-port", "0", "--metrics-port", "0",
		}, env: []string{"NODE_NAME=" + n.name()}, reads: []string{n.kubeconfig("kube-router")}},
		{name: "storage-provisioner", args: []string{
			"-kubeconfig", n.kubeconfig("storage-provisioner"), "-root", n.path("volumes"), "-provisioner", provisioner,
		}, reads: []string{n.kubeconfig("storage-provisioner")}},
	}
}

func (n *Node) etcdArgs(c credentials) []string {
	return []string{
		"--name", Name, "--data-dir", n.path("etcd"),
		"--listen-client-urls", "https://127.0.0.1:" + etcdClientPort, "--advertise-client-urls", "https://127.0.0.1:" + etcdClientPort,
		"--listen-peer-urls", "https://127.0.0.1:2380", "--initial-advertise-peer-urls", "https://127.0.0.1:2380",
		"--initial-cluster", Name + "=https://127.0.0.1:2380", "--listen-metrics-urls", "http://127.0.0.1:2381",
		"--cert-file", c.etcdServer.Cert, "--key-file", c.etcdServer.Key,
		"--client-cert-auth", "--trusted-ca-file", c.etcd.CertFile(),
		"--peer-cert-file", c.etcdServer.Cert, "--peer-key-file", c.etcdServer.Key,
		"--peer-client-cert-auth", "--peer-trusted-ca-file", c.etcd.CertFile(),
		"--auto-compaction-retention", "1h", "--quota-backend-bytes", "1073741824",
		"--log-level", "warn",
	}
}

func (n *Node) apiServerArgs(c credentials) []string {
	return []string{
		"--bind-address", n.address(), "--advertise-address", n.address(), "--secure-port", apiServerPort,
		"--etcd-servers", "https://127.0.0.1:" + etcdClientPort, "--etcd-cafile", c.etcd.CertFile(),
		"--etcd-certfile", c.apiServerToEtcd.Cert, "--etcd-keyfile", c.apiServerToEtcd.Key,
		"--tls-cert-file", c.apiServer.Cert, "--tls-private-key-file", c.apiServer.Key, "--client-ca-file", c.Cluster.CertFile(),
		"--kubelet-certificate-authority", c.Cluster.CertFile(),
		"--kubelet-client-certificate", c.apiServerToKubelet.Cert, "--kubelet-client-key", c.apiServerToKubelet.Key,
		"--kubelet-preferred-address-types", "InternalIP",
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file", c.tokenPublicKey, "--service-account-signing-key-file", c.tokenKey,
		"--service-cluster-ip-range", n.list(func(f family) string { return f.services }), "--service-node-port-range", nodePortRange,
		"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
		"--requestheader-client-ca-file", c.frontProxy.CertFile(), "--requestheader-allowed-names", "front-proxy-client",
		"--requestheader-extra-headers-prefix", "X-Remote-Extra-", "--requestheader-group-headers", "X-Remote-Group",
		"--requestheader-username-headers", "X-Remote-User",
		"--proxy-client-cert-file", c.aggregator.Cert, "--proxy-client-key-file", c.aggregator.Key,
		"--enable-aggregator-routing",
		"--encryption-provider-config", c.encryption,
		"--audit-policy-file", n.path("config", "audit.yaml"), "--audit-log-path", filepath.Join(n.layout.Logs(), "audit.log"),
		"--audit-log-maxsize", "20", "--audit-log-maxbackup", "2", "--profiling=false",
		// Pod Security decides per namespace whether a pod may be privileged.
		"--allow-privileged",
	}
}

func (n *Node) controllerManagerArgs(c credentials) []string {
	kubeconfig := n.kubeconfig("kube-controller-manager")
	grace := "2m" // a single node always comes back after a restart, so don't evict its pods
	if n.zone() != "" {
		grace = "8s"
	}
	return []string{
		"--kubeconfig", kubeconfig, "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
		"--bind-address", "127.0.0.1", "--leader-elect=false", "--use-service-account-credentials", "--profiling=false",
		"--tls-cert-file", c.controllerManager.Cert, "--tls-private-key-file", c.controllerManager.Key,
		"--root-ca-file", c.Cluster.CertFile(), "--service-account-private-key-file", c.tokenKey,
		"--cluster-signing-cert-file", c.Cluster.CertFile(), "--cluster-signing-key-file", c.Cluster.KeyFile(),
		"--node-monitor-grace-period", grace, "--node-monitor-period", "2s",
	}
}

// start passes a component to the supervisor and waits until it is healthy.
func (n *Node) start(ctx context.Context, c component) error {
	program, err := n.tools.Path(ctx, c.name)
	if errors.Is(err, toolchain.ErrUnknown) {
		program, err = exec.LookPath(c.name)
	}
	process := supervisor.Process{Name: c.name + n.suffix(), Args: append(append(n.namespaces(), program), c.args...), Env: c.env, Nice: c.nice}
	if err == nil {
		process.Revision, err = revision(c.reads...)
	}
	if err == nil {
		err = n.supervisor.Start(ctx, process)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	return n.await(ctx, c)
}

// startLimit is how long a component may take to become healthy.
const startLimit = 2 * time.Minute

func (n *Node) await(ctx context.Context, c component) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		err := n.probe(ctx, c.name)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not healthy: %w; the last lines of its log (make logs C=%[1]s shows more):\n%[3]s",
				c.name+n.suffix(), err, lastLines(filepath.Join(n.layout.Logs(), c.name+n.suffix()+".log"), 5))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// probe checks the health of a component.
func (n *Node) probe(ctx context.Context, component string) error {
	health := n.health(component)
	if health == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if socket, ok := strings.CutPrefix(health, "unix:"); ok {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return get(ctx, n.healthClient(), health)
}

// get returns an error unless the URL returns 200.
func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it returns %s", response.Status)
	}
	return nil
}

// healthClient trusts the cluster's authority and uses no proxy.
func (n *Node) healthClient() *http.Client {
	roots := x509.NewCertPool()
	if ca, err := os.ReadFile(n.path("pki", "cluster", "ca.crt")); err == nil {
		roots.AppendCertsFromPEM(ca)
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
}

// lastLines returns the end of a log, for an error message.
func lastLines(path string, count int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
