// Package lifecycle tests what happens to the machine: that faults are told in a
// sentence, that a run cut off anywhere is taken over by the next, that data
// survives, and that nothing is left in the end. It begins and ends with nothing up.
package lifecycle

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "not root: the lifecycle of the local node can be tested by root alone")
		os.Exit(1)
	}
	if err := os.Chdir(filepath.Join("..", "..")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestLifecycle is one story: each part begins where the one before it ended.
func TestLifecycle(t *testing.T) {
	run(t, 2*time.Minute, "down")
	t.Cleanup(func() { run(t, 2*time.Minute, "down") })
	before := look(t)

	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"a port that is taken is named", portTaken},
		{"a user who isn't root is told so", notRoot},
		{"a Docker Engine that hangs is named", dockerHangs},
		{"a full disk is named", diskFull},
		{"up is killed while the node starts", killedWhileTheNodeStarts},
		{"up is killed while Pulumi deploys", killedWhilePulumiDeploys},
		{"up is interrupted while Pulumi deploys", interruptedWhilePulumiDeploys},
		{"the next up takes over", takesOver},
		{"a second up changes nothing", secondUpChangesNothing},
		{"data survives a power cut", survivesPowerCut},
		{"data survives stop", survivesStop},
		{"another cluster can be the target", deploysToContext},
		{"the README is right from its first command to its last", readme},
	} {
		if !t.Run(part.name, part.test) {
			t.FailNow()
		}
	}

	run(t, 2*time.Minute, "down")
	if after := look(t); after != before {
		t.Errorf("down leaves something behind.\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

func portTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:2379")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	refused(t, command("up"), "etcd is to listen on", "127.0.0.1:2379", "end the program that has it")
}

func notRoot(t *testing.T) {
	// Outside of /root, which others can't enter.
	dir, err := os.MkdirTemp("", "not-root-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for name, mode := range map[string]os.FileMode{"bin/local": 0o755, "Pulumi.yaml": 0o644} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), content, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "local"), "up")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	refused(t, cmd, "not root", "sudo make up", "CONTEXT=")
}

func dockerHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket) // accepts, by the kernel's backlog, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cmd := command("up")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+socket)
	refused(t, cmd, "Docker Engine", "does not answer")
}

func diskFull(t *testing.T) {
	cache := t.TempDir()
	if err := syscall.Mount("tmpfs", cache, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(cache, 0); err != nil {
			t.Error(err)
		}
	}()
	cmd := command("up")
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache)
	refused(t, cmd, "are free on the disk of", "are needed")
}

func killedWhileTheNodeStarts(t *testing.T) {
	up := start(t, "up")
	up.waitFor(t, "control plane answers")
	up.signal(t, syscall.SIGKILL)
}

func killedWhilePulumiDeploys(t *testing.T) {
	up := start(t, "up")
	up.waitFor(t, "StatefulSet postgres creating")
	up.signal(t, syscall.SIGKILL)
}

func interruptedWhilePulumiDeploys(t *testing.T) {
	up := start(t, "up")
	up.waitFor(t, "Updating (local)")
	up.signal(t, syscall.SIGINT)
	if said := up.output(); !strings.Contains(said, "make up goes on from here") {
		t.Errorf("the interrupted up does not say how to go on:\n%s", said)
	}
}

func takesOver(t *testing.T) {
	run(t, 5*time.Minute, "up")
	demoUserIsServed(t)
}

func secondUpChangesNothing(t *testing.T) {
	before := run(t, time.Minute, "status")
	said := run(t, 2*time.Minute, "up")
	if strings.Contains(said, "created") || strings.Contains(said, "updated") || strings.Contains(said, "replaced") {
		t.Errorf("the second up changed the stack:\n%s", said)
	}
	after := run(t, time.Minute, "status")
	if processes(before) != processes(after) {
		t.Errorf("the second up restarted processes.\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

// processes is the part of the status that names processes and their starts.
func processes(status string) string {
	table, _, _ := strings.Cut(status, "\n\n")
	return table
}

func survivesPowerCut(t *testing.T) {
	email := signUp(t)
	cutPower(t)
	run(t, 5*time.Minute, "up")
	signedUpBefore(t, email)
}

func survivesStop(t *testing.T) {
	email := signUp(t)
	run(t, 2*time.Minute, "stop")
	if left := platformProcesses(t); len(left) > 0 {
		t.Errorf("stop leaves processes:\n%s", strings.Join(left, "\n"))
	}
	run(t, 5*time.Minute, "up")
	signedUpBefore(t, email)
}

// deploysToContext uses the node as if it were somebody else's cluster: known by a
// kubeconfig, with a registry that both sides reach.
func deploysToContext(t *testing.T) {
	shell(t, `eval "$(make -s env)" && pulumi destroy --yes --skip-preview --non-interactive --stack local`)
	up := readmeCommands(t)[slices.IndexFunc(readmeCommands(t), func(block string) bool {
		return strings.HasPrefix(block, "make up CONTEXT=")
	})]
	up = strings.NewReplacer("my-cluster", "platform", "registry.example.com/platform", "127.0.0.1:5100").Replace(strings.TrimSpace(up))
	shell(t, `eval "$(make -s env)" && `+up)
	token := shell(t, `eval "$(make -s env)" && `+strings.Replace(up, "make up", "make -s token", 1))
	ask(t, strings.TrimSpace(token), http.StatusOK)
	shell(t, `eval "$(make -s env)" && `+strings.Replace(up, "make up", "make down", 1))
}
