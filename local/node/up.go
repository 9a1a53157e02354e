package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"platform.example/local/file"
	"platform.example/local/image"
	"platform.example/local/toolchain"
)

// Up starts the node, or repairs a running one, and returns when pods can run on it. It leaves healthy components running. self is
// the path of this program, which also serves as the supervisor. With dualStack, a new node has IPv4 and IPv6 addresses, and
// Services of a single family use IPv6. nodes is the number of nodes; 0 keeps it.
func (n *Node) Up(ctx context.Context, self string, dualStack bool, nodes int) error {
	if dualStack && (nodes > 1 || len(n.workers()) > 0) {
		return errIPv4Nodes
	}
	if dualStack && len(n.families()) == 1 {
		if _, err := os.Stat(n.path("etcd")); err == nil {
			return errors.New("the node has only IPv4 addresses, which can't change: delete it with make down, then start a dual-stack node with make up IPV6=1")
		}
		if err := file.Write(n.dualStack(), nil, 0o600); err != nil {
			return err
		}
	}
	_, err := n.supervisor.List(ctx)
	if ctx.Err() != nil { // it says nothing about the node, which may run
		return ctx.Err()
	}
	fresh := err != nil
	if err := n.resize(nodes, !fresh); err != nil {
		return err
	}
	if fresh {
		// Only the stored data of a previous run is kept.
		if err := n.Stop(ctx); err != nil {
			return fmt.Errorf("clean up after a previous run: %w", err)
		}
		if err := n.preflight(ctx); err != nil {
			return err
		}
	}
	if err := n.installPackages(ctx); err != nil {
		return err
	}
	if fresh { // running components keep their choice
		if err := n.chooseIptables(ctx); err != nil {
			return err
		}
	}
	if err := n.prepare(ctx); err != nil {
		return err
	}
	issued, err := n.issue()
	if err != nil {
		return err
	}
	supervise := []string{"env", "PATH=" + n.componentsPath(), self, "supervise"}
	if _, err := os.Stat("/run/systemd/system"); err == nil { // sd_booted(3)
		// The node outlives the login session, whose processes systemd may kill. With cgroup v2, its niceness counts only within its own
		// cgroup, so the cgroup has the weight of one process with the niceness ahead, beside that of the pods.
		supervise = append([]string{"systemd-run", "--scope", "--quiet", "--collect", "--slice=-.slice", "--property=CPUWeight=1000"}, supervise...)
	}
	if err := n.supervisor.Ensure(ctx, supervise...); err != nil {
		return err
	}
	return n.startAll(ctx, issued)
}

// prepare creates the folders, the cgroup and the bridge.
func (n *Node) prepare(ctx context.Context) error {
	if err := os.MkdirAll(n.path("run"), 0o700); err != nil {
		return fmt.Errorf("the node's folder: %w", err)
	}
	// Pods with other user IDs access their volumes and logs through these folders.
	for _, folder := range []string{n.layout.State, n.layout.Node(), n.path("volumes")} {
		if err := os.MkdirAll(folder, 0o711); err != nil {
			return fmt.Errorf("the node's folder: %w", err)
		}
	}
	if err := n.rememberMachine(); err != nil {
		return err
	}
	if err := makeCgroup(Name); err != nil {
		return err
	}
	return n.connect(ctx)
}

// startAll starts the components, each as soon as it is compiled, and applies the node's manifests.
func (n *Node) startAll(ctx context.Context, c credentials) error {
	s := n.settings(c)
	// The registry starts first, because it serves the sandbox image of every pod.
	if err := n.writeConfig(s, "config/registry.yaml"); err != nil {
		return err
	}
	components := n.components(c)
	if err := n.start(ctx, components[0]); err != nil {
		return err
	}
	var err error
	if s.SandboxImage, err = n.buildPause(ctx); err != nil {
		return err
	}
	if err := n.writeConfig(s, "config"); err != nil {
		return err
	}
	for _, component := range components[1:] {
		if err := n.start(ctx, component); err != nil {
			return err
		}
		if component.name == "containerd" {
			if err := n.ensureDocker(ctx); err != nil {
				return err
			}
		}
	}
	n.log.Say("control plane is ready at %s", n.apiServer())
	for _, worker := range n.workers() {
		if err := worker.startWorker(ctx, c, s.SandboxImage); err != nil {
			return err
		}
	}
	return n.furnish(ctx, s)
}

// furnish applies the manifests of the basic cluster components.
func (n *Node) furnish(ctx context.Context, s settings) error {
	if err := n.apply(ctx, s, "rbac.yaml", "storage.yaml"); err != nil {
		return err
	}
	for _, node := range append([]*Node{n}, n.workers()...) {
		for _, state := range []string{"create", "condition=Ready"} { // the wait for a condition fails until the kubelet has registered the node
			if err := n.kubectl(ctx, nil, "wait", "--for="+state, "node/"+node.name(), "--timeout=90s"); err != nil {
				return fmt.Errorf("node %s does not become ready: %w; make logs C=kubelet%s shows why", node.name(), err, node.suffix())
			}
		}
		n.log.Say("node %s is ready", node.name())
	}
	if err := n.kubectl(ctx, nil, "label", "--overwrite", "node", n.name(), "node-role.kubernetes.io/control-plane="); err != nil {
		return err
	}
	var err error
	if s.CoreDNSImage, err = n.buildTool(ctx, "coredns"); err != nil {
		return err
	}
	if s.MetricsServerImage, err = n.buildTool(ctx, "metrics-server"); err != nil {
		return err
	}
	return n.apply(ctx, s, "coredns.yaml", "metrics-server.yaml")
}

// The Deployments of the cluster's own pods, which start in parallel with other steps.
const (
	CoreDNS       = "coredns"
	MetricsServer = "metrics-server" // becomes ready after two scrapes
)

// Await waits for the pods of a Deployment of the cluster itself.
func (n *Node) Await(ctx context.Context, deployment string) error {
	if err := n.kubectl(ctx, nil, "-n", "kube-system", "rollout", "status", "deployment/"+deployment, "--timeout=120s"); err != nil {
		return fmt.Errorf("%s does not become ready: %w", deployment, err)
	}
	return nil
}

// apply renders the manifests and applies them in one call.
func (n *Node) apply(ctx context.Context, s settings, names ...string) error {
	var all bytes.Buffer
	for _, name := range names {
		content, err := render(filepath.Join("manifests", name), s)
		if err != nil {
			return err
		}
		all.Write(content)
		all.WriteString("\n---\n")
	}
	// Right after its start, the API server is still creating the roles that the manifests refer to.
	var err error
	for range 20 {
		if err = n.kubectl(ctx, all.Bytes(), "apply", "--server-side", "--force-conflicts", "-f", "-"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return fmt.Errorf("apply %s: %w", strings.Join(names, ", "), err)
}

func (n *Node) kubectl(ctx context.Context, stdin []byte, args ...string) error {
	path, err := n.tools.Path(ctx, "kubectl")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--kubeconfig", n.kubeconfig("admin")}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", args[0], err, bytes.TrimSpace(output))
	}
	return nil
}

// buildPause compiles the pause program and pushes an image of it.
func (n *Node) buildPause(ctx context.Context) (string, error) {
	path := filepath.Join(n.layout.Cache, "pause")
	folder := filepath.Join(n.layout.Repo, "local")
	if err := toolchain.GoBuild(ctx, folder, "-trimpath", "-ldflags", "-s -w -buildid=", "-o", path, "./cmd/pause"); err != nil {
		return "", fmt.Errorf("compile pause: %w", err)
	}
	return image.PushProgram(ctx, Registry+"/platform/pause", path)
}

// buildTool pushes an image of one of the compiled tools.
func (n *Node) buildTool(ctx context.Context, name string) (string, error) {
	path, err := n.tools.Path(ctx, name)
	if err != nil {
		return "", err
	}
	return image.PushProgram(ctx, Registry+"/platform/"+name, path)
}

// preflight checks for problems that would make the node fail later with a less clear error.
func (n *Node) preflight(ctx context.Context) error {
	if _, err := os.Stat("/var/lib/kubelet/config.yaml"); err == nil {
		return errors.New("this machine is already a Kubernetes node (/var/lib/kubelet/config.yaml): deploy to its cluster with make up CONTEXT=<kube context>")
	}
	if err := errors.Join(addressTaken(), rulesTaken(ctx)); err != nil {
		return err
	}
	for _, port := range ports {
		listener, err := net.Listen("tcp", port.address)
		if err != nil {
			return fmt.Errorf("%s must listen on %s: %w; stop the program that uses the port (ss -ltnp lists it)", port.component, port.address, err)
		}
		_ = listener.Close()
	}
	return nil
}

// packages are the Debian packages that the node needs.
var packages = []string{
	"containerd", "runc", "containernetworking-plugins", "iptables", "ipset", "iproute2", "conntrack", "mmdebstrap",
}

// installPackages installs missing packages, including the Docker Engine if the machine has none.
func (n *Node) installPackages(ctx context.Context) error {
	names := slices.Clone(packages)
	if running, err := machineDocker(ctx); err != nil {
		return err
	} else if running == "" {
		names = append(names, "docker.io")
	}
	if len(n.workers()) > 0 {
		names = append(names, "socat")
	}
	return InstallPackages(ctx, n.log, names...)
}
