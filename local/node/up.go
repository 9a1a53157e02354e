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
)

// Up brings the node up, or up again, and returns when pods can run on it. What
// runs already as it should is left alone. Self is the path of this program,
// which serves as the supervisor too. With dualStack, a new node has IPv6 addresses
// beside those of IPv4, and Services with a single family are of IPv6.
func (n *Node) Up(ctx context.Context, self string, dualStack bool) error {
	if dualStack && len(n.families()) == 1 {
		if _, err := os.Stat(n.path("etcd")); err == nil {
			return errors.New("the node has IPv4 addresses only, and keeps them: make down deletes it, make up IPV6=1 then starts one with both")
		}
		if err := file.Write(n.dualStack(), nil, 0o600); err != nil {
			return err
		}
	}
	_, err := n.supervisor.List(ctx)
	fresh := err != nil
	if fresh {
		// Nothing of a former run is worth keeping but what is stored on disk.
		if err := n.Stop(ctx); err != nil {
			return fmt.Errorf("clean up after a former run: %w", err)
		}
		if err := n.preflight(); err != nil {
			return err
		}
	}
	if err := n.installPackages(ctx); err != nil {
		return err
	}
	if fresh { // components that run write where they began to
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
	path := n.iptablesFolder() + string(os.PathListSeparator) + os.Getenv("PATH")
	if err := n.supervisor.Ensure(ctx, "env", "PATH="+path, self, "supervise"); err != nil {
		return err
	}
	return n.startAll(ctx, issued)
}

// prepare makes the folders, the cgroup and the bridge.
func (n *Node) prepare(ctx context.Context) error {
	if err := os.MkdirAll(n.path("run"), 0o700); err != nil {
		return fmt.Errorf("the node's folder: %w", err)
	}
	// Pods with users of their own reach their volumes and logs through here.
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

// startAll starts the components, each as soon as it is compiled, and gives
// Kubernetes what the node is to run.
func (n *Node) startAll(ctx context.Context, c credentials) error {
	s := n.settings(c)
	// The registry comes first: it holds the image that every pod starts with.
	if err := n.writeConfig(s, registryConfig); err != nil {
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
	n.log.Say("control plane answers at %s", n.apiServer())
	return n.furnish(ctx, s)
}

// furnish applies the manifests of what a cluster has before anybody uses it.
func (n *Node) furnish(ctx context.Context, s settings) error {
	if err := n.apply(ctx, s, "rbac.yaml", "storage.yaml"); err != nil {
		return err
	}
	if err := n.kubectl(ctx, nil, "wait", "--for=condition=Ready", "node/"+Name, "--timeout=90s"); err != nil {
		return fmt.Errorf("the node does not become ready: %w; make logs C=kubelet shows why", err)
	}
	n.log.Say("node ready")
	var err error
	if s.CoreDNSImage, err = n.buildTool(ctx, "coredns"); err != nil {
		return err
	}
	if s.MetricsServerImage, err = n.buildTool(ctx, "metrics-server"); err != nil {
		return err
	}
	return n.apply(ctx, s, "coredns.yaml", "metrics-server.yaml")
}

// AwaitPods waits for the cluster's own pods, which start while other things go on.
func (n *Node) AwaitPods(ctx context.Context) error {
	for _, deployment := range []string{"coredns", "metrics-server"} {
		if err := n.kubectl(ctx, nil, "-n", "kube-system", "rollout", "status", "deployment/"+deployment, "--timeout=120s"); err != nil {
			return fmt.Errorf("%s does not become ready: %w", deployment, err)
		}
	}
	return nil
}

// apply renders the manifests and hands them to the API server in one go.
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
	// Right after its start, the API server still makes the roles that ours refer to.
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

// buildPause compiles the program that holds a pod's namespaces and makes an image of it.
func (n *Node) buildPause(ctx context.Context) (string, error) {
	path := filepath.Join(n.layout.Cache, "pause")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", path, "./cmd/pause")
	cmd.Dir = filepath.Join(n.layout.Repo, "local")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile pause: %w: %s", err, output)
	}
	return image.PushProgram(ctx, Registry+"/platform/pause", path)
}

// buildTool makes an image of one of the compiled tools.
func (n *Node) buildTool(ctx context.Context, name string) (string, error) {
	path, err := n.tools.Path(ctx, name)
	if err != nil {
		return "", err
	}
	return image.PushProgram(ctx, Registry+"/platform/"+name, path)
}

// preflight looks for what would make the node fail later in a less obvious way.
func (n *Node) preflight() error {
	if _, err := os.Stat("/var/lib/kubelet/config.yaml"); err == nil {
		return errors.New("this machine is already a Kubernetes node (/var/lib/kubelet/config.yaml): deploy to its cluster with make up CONTEXT=<kube context>")
	}
	if err := addressTaken(); err != nil {
		return err
	}
	for _, port := range ports {
		listener, err := net.Listen("tcp", port.address)
		if err != nil {
			return fmt.Errorf("%s is to listen on %s: %w; end the program that has it (ss -ltnp shows which)", port.component, port.address, err)
		}
		_ = listener.Close()
	}
	return nil
}

// packages are what the node takes from Debian.
var packages = []string{
	"containerd", "runc", "containernetworking-plugins", "iptables", "ipset", "iproute2", "conntrack", "mmdebstrap",
}

// installPackages installs what is missing, the Docker Engine too where none answers.
func (n *Node) installPackages(ctx context.Context) error {
	wanted := slices.Clone(packages)
	if running, err := machineDocker(ctx); err != nil {
		return err
	} else if running == "" {
		wanted = append(wanted, "docker.io")
	}
	return InstallPackages(ctx, n.log, wanted...)
}
