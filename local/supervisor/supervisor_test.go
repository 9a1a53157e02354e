package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// supervise makes the test binary a supervisor: supervise <socket> <logs>.
const supervise = "supervise"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == supervise {
		if err := Run(context.Background(), Config{Socket: os.Args[2], Logs: os.Args[3]}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// sleeper is a process that ends on SIGTERM.
func sleeper(name string) Process {
	return Process{Name: name, Args: []string{"/bin/sleep", "300"}}
}

// stubborn is a command that ignores SIGTERM. So does its child, whose PID it writes into the file.
func stubborn(file string) []string {
	return []string{"/bin/sh", "-c", `trap "" TERM; sleep 300 & echo $! > "$0"; wait`, file}
}

// folder returns a folder with a path short enough for a Unix socket, wherever TMPDIR points.
func folder(t *testing.T) Config {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sup")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return Config{Socket: filepath.Join(dir, "run", "s.sock"), Logs: filepath.Join(dir, "logs")}
}

// within polls until the condition is true.
func within(t *testing.T, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// serve runs a supervisor in this process until the test ends.
func serve(t *testing.T) (Config, *Client) {
	t.Helper()
	cfg := folder(t)
	return cfg, serveAt(t, cfg)
}

func serveAt(t *testing.T, cfg Config) *Client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the supervisor ended with: %v", err)
		}
	})
	client := Connect(cfg)
	within(t, 10*time.Second, "the supervisor answers", func() bool {
		_, err := client.List(t.Context())
		return err == nil
	})
	return client
}

// launch runs a supervisor as a separate process, as make up does.
func launch(t *testing.T, cfg Config) (client *Client, pid int) {
	t.Helper()
	client = Connect(cfg)
	if err := client.Ensure(t.Context(), os.Args[0], supervise, cfg.Socket, cfg.Logs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return client, recorded(t, cfg, "supervisor")
}

// recorded returns the PID in a pid file.
func recorded(t *testing.T, cfg Config, name string) (pid int) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(filepath.Dir(cfg.Socket), name+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(content), &pid); err != nil {
		t.Fatalf("pid file of %s: %q: %v", name, content, err)
	}
	return pid
}

func start(t *testing.T, client *Client, p Process) {
	t.Helper()
	if err := client.Start(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// status returns the state of the process, or the zero value for an unknown process.
func status(t *testing.T, client *Client, name string) Status {
	t.Helper()
	statuses, err := client.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statuses {
		if s.Name == name {
			return s
		}
	}
	return Status{}
}

// running waits until the process runs with a PID other than the given one.
func running(t *testing.T, client *Client, name string, former int) Status {
	t.Helper()
	var s Status
	within(t, 10*time.Second, name+" runs", func() bool {
		s = status(t, client, name)
		return s.Running && s.PID != former
	})
	return s
}

func TestProcessIsStartedAndListed(t *testing.T) {
	cfg, client := serve(t)
	p := Process{Name: "greeter", Args: []string{"/bin/sh", "-c", `echo "hello $WHOM, nice by $(nice)"; exec sleep 300`},
		Env: []string{"WHOM=node"}, Nice: 3}
	own, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	hello := fmt.Sprintf("hello node, nice by %d\n", min(20-own+p.Nice, 19)) // the system call counts from 20 downwards
	start(t, client, p)
	s := running(t, client, "greeter", 0)
	if !alive(s.PID) || s.Restarts != 0 || s.LastExit != "" || time.Since(s.Since) > time.Minute || !reflect.DeepEqual(s.Process, p) {
		t.Errorf("status is %+v", s)
	}
	if pid := recorded(t, cfg, "greeter"); pid != s.PID {
		t.Errorf("the pid file contains %d, the status %d", pid, s.PID)
	}
	within(t, 5*time.Second, "the log contains its output", func() bool {
		content, _ := os.ReadFile(filepath.Join(cfg.Logs, "greeter.log"))
		return string(content) == hello
	})
	for path, want := range map[string]os.FileMode{cfg.Socket: 0o600, filepath.Dir(cfg.Socket): 0o700, cfg.Logs: 0o700, filepath.Join(cfg.Logs, "greeter.log"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v: others must not reach it", path, info.Mode(), err, want)
		}
	}
}

func TestProcessIsRestartedOnlyWhenItsSpecificationChanges(t *testing.T) {
	_, client := serve(t)
	base := Process{Name: "p", Args: []string{"/bin/sleep", "300"}, Env: []string{"A=1"}, Revision: "r1"}
	for _, c := range []struct {
		name    string
		change  func(*Process)
		restart bool
	}{
		{"the same", func(*Process) {}, false},
		{"another argument", func(p *Process) { p.Args = []string{"/bin/sleep", "301"} }, true},
		{"another environment", func(p *Process) { p.Env = []string{"A=2"} }, true},
		{"another niceness", func(p *Process) { p.Nice = 1 }, true},
		{"a file that it reads has changed", func(p *Process) { p.Revision = "r2" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := base
			p.Name = strings.ReplaceAll(c.name, " ", "-")
			start(t, client, p)
			before := running(t, client, p.Name, 0)
			c.change(&p)
			start(t, client, p)
			if !c.restart {
				if after := running(t, client, p.Name, 0); after.PID != before.PID || after.Restarts != 0 {
					t.Errorf("process %d was restarted: %+v", before.PID, after)
				}
				return
			}
			after := running(t, client, p.Name, before.PID)
			if alive(before.PID) || after.Restarts != 0 || !reflect.DeepEqual(after.Process, p) {
				t.Errorf("after the change: %+v; the previous process is alive: %v", after, alive(before.PID))
			}
		})
	}
}

func TestProcessIsRestartedAfterItDies(t *testing.T) {
	t.Parallel()
	_, client := serve(t)
	start(t, client, sleeper("p"))
	first := running(t, client, "p", 0)
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := running(t, client, "p", first.PID)
	if second.Restarts != 1 || !strings.HasSuffix(second.LastExit, "signal: killed") || !second.Since.After(first.Since) {
		t.Errorf("after one kill: %+v", second)
	}
}

func TestMissingProgramIsReported(t *testing.T) {
	_, client := serve(t)
	start(t, client, Process{Name: "p", Args: []string{"/no/such/program"}})
	within(t, 5*time.Second, "the failed start is counted", func() bool {
		s := status(t, client, "p")
		return !s.Running && s.Restarts > 0 && strings.Contains(s.LastExit, "no such file")
	})
}

func TestStoppedProcessIsNotRestarted(t *testing.T) {
	cfg, client := serve(t)
	start(t, client, sleeper("kept"))
	start(t, client, sleeper("stopped"))
	running(t, client, "kept", 0)
	s := running(t, client, "stopped", 0)
	if err := client.Stop(t.Context(), "stopped"); err != nil {
		t.Fatal(err)
	}
	if alive(s.PID) || status(t, client, "stopped").Name != "" {
		t.Errorf("the process is still listed: %+v", status(t, client, "stopped"))
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(cfg.Socket), "stopped.pid")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its pid file still exists: %v", err)
	}
	if !status(t, client, "kept").Running {
		t.Error("another process was stopped, too")
	}
	if err := client.Stop(t.Context(), "stopped"); err != nil {
		t.Errorf("Stop of an unknown process: %v", err)
	}
}

func TestStopDoesNotWaitForTheNextRestart(t *testing.T) {
	t.Parallel()
	_, client := serve(t)
	start(t, client, Process{Name: "p", Args: []string{"/bin/false"}})
	within(t, 10*time.Second, "it waits a while between attempts", func() bool { return status(t, client, "p").Restarts >= 2 })
	began := time.Now()
	if err := client.Stop(t.Context(), "p"); err != nil || time.Since(began) > firstBackoff {
		t.Errorf("took %s: %v", time.Since(began), err)
	}
}

func TestInvalidProcessIsRefused(t *testing.T) {
	_, client := serve(t)
	err := client.Start(t.Context(), Process{Name: "empty"})
	if err == nil || !strings.Contains(err.Error(), "command line") {
		t.Errorf("a process without a command line: %v", err)
	}
}

func TestProcessesStopInReverseOrder(t *testing.T) {
	t.Parallel()
	cfg := folder(t)
	client, _ := launch(t, cfg)
	order := filepath.Join(filepath.Dir(cfg.Logs), "order")
	names := []string{"first", "second", "third"}
	for _, name := range names {
		script := `trap 'echo "$0" >> "$1"; exit' TERM; touch "$1.$0"; while :; do sleep 0.02; done`
		start(t, client, Process{Name: name, Args: []string{"/bin/sh", "-c", script, name, order}})
		within(t, 5*time.Second, name+" listens for signals", func() bool {
			_, err := os.Stat(order + "." + name)
			return err == nil
		})
	}
	statuses, err := client.List(t.Context())
	if err != nil || !slices.EqualFunc(statuses, names, func(s Status, name string) bool { return s.Name == name }) {
		t.Errorf("list is %+v, %v", statuses, err)
	}
	if err := client.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(order); string(content) != "third\nsecond\nfirst\n" {
		t.Errorf("the processes ended in the order %q", content)
	}
}

func TestShutdownEndsTheSupervisorAndItsProcesses(t *testing.T) {
	t.Parallel()
	cfg := folder(t)
	client, supervisor := launch(t, cfg)
	start(t, client, sleeper("a"))
	start(t, client, sleeper("b"))
	a, b := running(t, client, "a", 0), running(t, client, "b", 0)
	if err := client.Shutdown(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{supervisor, a.PID, b.PID} {
		if alive(pid) {
			t.Errorf("process %d still runs", pid)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(cfg.Socket), "*.pid")); len(left) > 0 {
		t.Errorf("pid files remain: %v", left)
	}
	if err := client.Shutdown(); err != nil {
		t.Errorf("Shutdown without a supervisor: %v", err)
	}
}

func TestEnsureKeepsARunningSupervisor(t *testing.T) {
	t.Parallel()
	cfg := folder(t)
	_, first := launch(t, cfg)
	if err := Connect(cfg).Ensure(t.Context(), "/no/such/program"); err != nil {
		t.Error(err)
	}
	if pid := recorded(t, cfg, "supervisor"); pid != first || !alive(first) {
		t.Errorf("the supervisor's PID is %d, was %d", pid, first)
	}
}

func TestEnsureErrorNamesTheLog(t *testing.T) {
	cfg := folder(t)
	err := Connect(cfg).Ensure(t.Context(), "/bin/false")
	if err == nil || !strings.Contains(err.Error(), "ended at once") || !strings.Contains(err.Error(), filepath.Join(cfg.Logs, "supervisor.log")) {
		t.Error(err)
	}
}

func TestSupervisorEndsProcessesOfAKilledSupervisor(t *testing.T) {
	t.Parallel()
	cfg := folder(t)
	client, killed := launch(t, cfg)
	start(t, client, sleeper("orphan"))
	orphan := running(t, client, "orphan", 0)
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "the supervisor is dead", func() bool { return !alive(killed) })
	if !alive(orphan.PID) {
		t.Fatal("the process died with its supervisor, so the test is void")
	}
	client, next := launch(t, cfg)
	if next == killed || alive(orphan.PID) {
		t.Errorf("supervisor %d after %d; the orphan is alive: %v", next, killed, alive(orphan.PID))
	}
	if statuses, err := client.List(t.Context()); err != nil || len(statuses) != 0 {
		t.Errorf("the new supervisor runs %+v, %v", statuses, err)
	}
}

func TestShutdownEndsProcessesOfAKilledSupervisor(t *testing.T) {
	t.Parallel()
	cfg := folder(t)
	client, killed := launch(t, cfg)
	start(t, client, sleeper("orphan"))
	orphan := running(t, client, "orphan", 0)
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "the supervisor is dead", func() bool { return !alive(killed) })
	if err := client.Shutdown(); err != nil || alive(orphan.PID) {
		t.Errorf("%v; the orphan is alive: %v", err, alive(orphan.PID))
	}
}

// background starts a command outside of the supervisor and reaps it.
func background(t *testing.T, args ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reaped := make(chan struct{})
	go func() { _ = cmd.Wait(); close(reaped) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-reaped
	})
	return cmd.Process.Pid
}

func TestUnrelatedProcessWithARecordedPIDIsKept(t *testing.T) {
	cfg := folder(t)
	dir := filepath.Dir(cfg.Socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ours, stranger, rebooted := background(t, "/bin/sleep", "300"), background(t, "/bin/sleep", "300"), background(t, "/bin/sleep", "300")
	if err := writePID(filepath.Join(dir, "ours.pid"), ours); err != nil {
		t.Fatal(err)
	}
	started, err := startTime(rebooted)
	if err != nil {
		t.Fatal(err)
	}
	boot, ticks, _ := strings.Cut(started, "/")
	for name, content := range map[string]string{
		"stranger": fmt.Sprintf("%d %s/1\n", stranger, boot), // started at another time
		"rebooted": fmt.Sprintf("%d 00000000-0000-0000-0000-000000000000/%s\n", rebooted, ticks),
		"cut-off":  "12",
		"empty":    "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".pid"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serveAt(t, cfg)
	if alive(ours) || !alive(stranger) || !alive(rebooted) {
		t.Errorf("alive: own process %v, want false; unrelated process %v, process since the machine's restart %v, want true", alive(ours), alive(stranger), alive(rebooted))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.pid")); !slices.Equal(left, []string{filepath.Join(dir, supervisorPID)}) {
		t.Errorf("pid files remain: %v", left)
	}
}

// The grace period of a supervised process is fixed; that of a recorded process is an argument.
func TestRecordedProcessThatIgnoresSIGTERMIsKilledWithItsGroup(t *testing.T) {
	dir := t.TempDir()
	note := filepath.Join(dir, "child")
	pid := background(t, stubborn(note)...)
	var child int
	within(t, 5*time.Second, "it ignores SIGTERM", func() bool {
		content, _ := os.ReadFile(note)
		_, err := fmt.Sscan(string(content), &child)
		return err == nil
	})
	file := filepath.Join(dir, "p.pid")
	if err := writePID(file, pid); err != nil {
		t.Fatal(err)
	}
	const grace = 100 * time.Millisecond
	began := time.Now()
	if err := endPID(file, grace); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); alive(pid) || took < grace {
		t.Errorf("alive: %v; it ended after %s of its grace period of %s", alive(pid), took, grace)
	}
	within(t, 5*time.Second, "its child is gone", func() bool { return !alive(child) })
}

func TestTrimLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.log")
	writer, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := writer.WriteString("head\n"); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, logLimit); err != nil { // the rest is a hole, which uses no disk
		t.Fatal(err)
	}
	if err := trimLog(path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".1"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a log at the limit was rotated: %v", err)
	}
	if _, err := writer.WriteString("one more\n"); err != nil {
		t.Fatal(err)
	}
	if err := trimLog(path); err != nil {
		t.Fatal(err)
	}
	aside, err := os.ReadFile(path + ".1")
	if err != nil || !strings.HasPrefix(string(aside), "head\n") || !strings.HasSuffix(string(aside), "one more\n") {
		t.Errorf("the rotated log is incomplete (%d bytes): %v", len(aside), err)
	}
	if _, err := writer.WriteString("after\n"); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(path); string(content) != "after\n" {
		t.Errorf("the process continues to write, but its log has %d bytes", len(content))
	}
}

func TestOpenLogRotatesAFullLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.log")
	for _, c := range []struct {
		size    int64
		rotated bool
	}{{logLimit, false}, {logLimit + 1, true}} {
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, c.size)); err != nil {
			t.Fatal(err)
		}
		log, err := openLog(path)
		if err != nil {
			t.Fatal(err)
		}
		_ = log.Close()
		if _, err := os.Stat(path + ".1"); (err == nil) != c.rotated {
			t.Errorf("%d bytes: rotated %v, want %v", c.size, err == nil, c.rotated)
		}
	}
}

func TestProcStatReadsPastAnyProgramName(t *testing.T) {
	odd := filepath.Join(t.TempDir(), "a ) Z 1")
	content, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(odd, content, 0o755); err != nil {
		t.Fatal(err)
	}
	pid := background(t, odd, "300")
	stat, err := procStat(pid)
	if err != nil || !slices.Contains([]string{"S", "R", "D"}, stat[0]) || stat[1] != fmt.Sprint(os.Getpid()) {
		t.Errorf("state and parent are %q, want S and %d: %v", stat[:2], os.Getpid(), err)
	}
}
