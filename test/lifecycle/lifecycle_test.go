// Package lifecycle tests the platform's effects on the machine: errors are reported in one sentence, the next run recovers from a
// run that was interrupted anywhere, data survives, and nothing is left in the end. It starts and ends without a platform.
package lifecycle

import (
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

	"platform.example/test/kit"
)

func TestMain(m *testing.M) { kit.MainAsRoot(m, "only root can test the lifecycle of the local node") }

// TestLifecycle is a sequence: each part starts in the state in which the previous part ended.
func TestLifecycle(t *testing.T) {
	run(t, 2*time.Minute, "down")
	t.Cleanup(func() { run(t, 2*time.Minute, "down") })
	before := look(t)

	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"other commands name the command that creates the platform", noPlatform},
		{"the error names a port in use", portTaken},
		{"the error names a missing root user", notRoot},
		{"the error names a hanging Docker Engine", dockerHangs},
		{"the error names a full disk", diskFull},
		{"up is killed while the node starts", killedWhileTheNodeStarts},
		{"up is killed while Pulumi deploys", killedWhilePulumiDeploys},
		{"up is interrupted while Pulumi deploys", interruptedWhilePulumiDeploys},
		{"the next up recovers", recovers},
		{"a second up changes nothing", secondUpChangesNothing},
		{"data survives a power failure", survivesPowerCut},
		{"data survives stop", survivesStop},
		{"up deploys to another cluster", deploysToContext},
		{"all commands of the README work", readme},
	} {
		if !t.Run(part.name, part.test) {
			t.FailNow()
		}
	}

	run(t, 2*time.Minute, "down")
	if after := look(t); after != before {
		t.Errorf("down does not restore the machine.\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

func portTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:2379")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	refused(t, command("up"), "etcd must listen on", "127.0.0.1:2379", "stop the program that uses the port")
}

func notRoot(t *testing.T) {
	// Outside of /root, which other users can't enter.
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

func noPlatform(t *testing.T) {
	for _, arguments := range []string{"env", "releases", "data-switchover", "preview-comment STACK=local"} {
		_, err := kit.Run(strings.Fields("make -s " + arguments)...)
		if err == nil || !strings.Contains(err.Error(), "error: there is no platform: make up creates it") {
			t.Errorf("make %s: %v", arguments, err)
		}
	}
}

func dockerHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket) // the kernel accepts connections, but no process responds
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	cmd := command("up")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+socket)
	refused(t, cmd, "Docker Engine", "does not respond")
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
	interrupted(t, "control plane is ready", syscall.SIGKILL)
}

func killedWhilePulumiDeploys(t *testing.T) {
	interrupted(t, "Cluster postgres-1 creating", syscall.SIGKILL)
}

func interruptedWhilePulumiDeploys(t *testing.T) {
	if printed := interrupted(t, "Updating (local)", syscall.SIGINT); !strings.Contains(printed, "make up continues from here") {
		t.Errorf("the interrupted up does not print how to continue:\n%s", printed)
	}
}

func recovers(t *testing.T) {
	run(t, 5*time.Minute, "up")
	served(t, run(t, time.Minute, "token")) // as the last screen of up suggests
}

func secondUpChangesNothing(t *testing.T) {
	before := run(t, time.Minute, "status")
	printed := run(t, 2*time.Minute, "up")
	if strings.Contains(printed, "created") || strings.Contains(printed, "updated") || strings.Contains(printed, "replaced") {
		t.Errorf("the second up changed the stack:\n%s", printed)
	}
	after := run(t, time.Minute, "status")
	if processes(before) != processes(after) {
		t.Errorf("the second up restarted processes.\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

// api returns a client of the platform that runs now.
func api() kit.Client { return kit.NewClient("https://localhost:30443") }

// served fails the test unless the API serves the user of the token.
func served(t *testing.T, token string) {
	t.Helper()
	api().MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", strings.TrimSpace(token), nil)
}

// processes returns the part of the status with the processes and their start times.
func processes(status string) string {
	table, _, _ := strings.Cut(status, "\n\n")
	return table
}

func survivesPowerCut(t *testing.T) {
	user := api().SignUp(t)
	cutPower(t)
	run(t, 5*time.Minute, "up")
	served(t, api().MustSignIn(t, user))
}

func survivesStop(t *testing.T) {
	user := api().SignUp(t)
	run(t, 2*time.Minute, "stop")
	if left := platformProcesses(t); len(left) > 0 {
		t.Errorf("processes remain after stop:\n%s", strings.Join(left, "\n"))
	}
	run(t, 5*time.Minute, "up")
	served(t, api().MustSignIn(t, user))
}

// deploysToContext uses the node like another cluster: through a kubeconfig, with a registry that both sides reach.
func deploysToContext(t *testing.T) {
	shell(t, `eval "$(make -s env)" && pulumi destroy --yes --skip-preview --non-interactive --stack local`)
	up := readmeCommands(t)[slices.IndexFunc(readmeCommands(t), func(block string) bool {
		return strings.HasPrefix(block, "make up CONTEXT=")
	})]
	up = strings.NewReplacer("my-cluster", "platform", "registry.example.com/platform", "127.0.0.1:5100").Replace(strings.TrimSpace(up))
	// The cluster may have no Grafana image. The README names the setting.
	without := strings.Replace(up, "make up", "make -s env", 1)
	shell(t, `eval "$(make -s env)" && `+up+` || (eval "$(`+without+`)" && pulumi config set --path platform:monitoring.grafana false --stack local && `+up+`)`)
	token := shell(t, `eval "$(make -s env)" && `+strings.Replace(up, "make up", "make -s token", 1))
	served(t, token)
	shell(t, `eval "$(make -s env)" && `+strings.Replace(up, "make up", "make down", 1))
}
