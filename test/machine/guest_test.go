package machine

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// Emulation is 10 to 20 times slower than the hardware.
const (
	bootLimit = 15 * time.Minute
	limit     = 40 * time.Minute
)

// guest is an emulated machine with Debian 12.
type guest struct {
	t        *testing.T
	folder   string // of its disk
	port     string // of its ssh server, on loopback
	emulator *exec.Cmd
}

// newGuest makes the disk of a machine that has the sources and the tools of this one.
func newGuest(t *testing.T) *guest {
	t.Helper()
	folder, err := os.MkdirTemp("/var/tmp", "machine-") // t.TempDir may be in memory
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, folder: folder}
	t.Cleanup(func() {
		g.cutPower()
		_ = os.RemoveAll(folder)
	})
	if err := os.Chmod(folder, 0o755); err != nil { // for apt's own user
		t.Fatal(err)
	}
	tools := []string{"kubectl", "coredns", "metrics-server"}
	for _, name := range kit.ComponentNames() {
		if name != "containerd" { // a package
			tools = append(tools, name)
		}
	}
	if printed, err := kit.RunFor(limit, append([]string{"test/machine/testdata/disk.sh", g.folder}, tools...)...); err != nil {
		t.Fatalf("make the disk: %v\n%s", err, printed)
	}
	return g
}

func (g *guest) path(name string) string { return filepath.Join(g.folder, name) }

// boot starts the machine, and returns when it accepts sessions. Its network has no other hosts.
func (g *guest) boot() {
	g.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // finds a free port
	if err != nil {
		g.t.Fatal(err)
	}
	_, g.port, _ = net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	g.emulator = exec.Command("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "4096",
		"-kernel", g.path("kernel"), "-initrd", g.path("initrd"), "-append", "root=/dev/vda rw console=ttyS0",
		"-drive", "file="+g.path("disk")+",if=virtio,format=raw", "-device", "virtio-rng-pci",
		"-netdev", "user,id=ethernet,restrict=on,hostfwd=tcp:127.0.0.1:"+g.port+"-:22", "-device", "virtio-net-pci,netdev=ethernet",
		"-display", "none", "-monitor", "none", "-serial", "file:"+g.path("console"))
	g.emulator.Stderr = os.Stderr
	g.emulator.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.emulator.Start(); err != nil {
		g.t.Fatal(err)
	}
	kit.Eventually(g.t, bootLimit, "the machine accepts sessions", func() error {
		if _, err := g.try(time.Minute, "true"); err != nil {
			printed, _ := os.ReadFile(g.path("console"))
			return fmt.Errorf("%w; the end of its console:\n%s", err, printed[max(0, len(printed)-2000):])
		}
		return nil
	})
}

// cutPower ends the emulator at once: what the machine has not written to its disk is lost.
func (g *guest) cutPower() {
	if g.emulator != nil {
		_ = g.emulator.Process.Kill()
		_ = g.emulator.Wait()
	}
}

// try runs a shell line in a session of its own, in the folder of the sources, and returns its output.
func (g *guest) try(within time.Duration, line string) (string, error) {
	const environment = "exec 2>&1; export PATH=/usr/local/go/bin:$PATH GOTOOLCHAIN=local GOPROXY=off KUBECONFIG=/var/lib/platform/node/admin.kubeconfig; " +
		"kubectl() { /var/lib/platform/bin/kubectl \"$@\"; }; cd platform; "
	return kit.RunFor(within, "ssh", "-i", g.path("key"), "-p", g.port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60", "root@127.0.0.1", environment+line)
}

// run is like try, but the line must succeed.
func (g *guest) run(line string) string {
	g.t.Helper()
	printed, err := g.try(limit, line)
	if err != nil {
		g.t.Fatalf("%v\n%s", err, printed)
	}
	return strings.TrimSpace(printed)
}

// up starts the node. The emulation may exceed a time limit of the node: then the next up continues, as it does for users.
func (g *guest) up() {
	g.t.Helper()
	const attempts = 3
	for attempt := 1; ; attempt++ {
		printed, err := g.try(limit, "bin/local -node up")
		if err == nil {
			return
		}
		if attempt == attempts {
			g.t.Fatalf("%v\n%s", err, printed)
		}
		g.t.Logf("attempt %d to start the node: %v\n%s", attempt, err, printed)
	}
}

// look describes everything that a platform could leave on the machine.
func (g *guest) look() string {
	g.t.Helper()
	script, err := os.ReadFile("test/machine/testdata/look.sh")
	if err != nil {
		g.t.Fatal(err)
	}
	return g.run(string(script))
}

// inPod runs a command of busybox in the pod once it runs, and returns its output.
func (g *guest) inPod(command string) (printed string) {
	g.t.Helper()
	kit.Eventually(g.t, limit, "the pod runs", func() (err error) {
		printed, err = g.try(limit, "kubectl exec files -- /busybox "+command)
		if err != nil {
			return fmt.Errorf("%w: %s", err, printed)
		}
		return nil
	})
	return strings.TrimSpace(printed)
}
