package lifecycle

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// command returns a call of the program that the Makefile's targets call.
func command(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join("bin", "local"), args...)
}

// run calls a verb that must succeed within the time limit, and returns its output.
func run(t *testing.T, within time.Duration, verb string) string {
	t.Helper()
	printed, err := kit.RunFor(within, "bash", "-c", "exec bin/local "+verb+" 2>&1")
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	return printed
}

// shell runs a line in a shell and returns its standard output.
func shell(t *testing.T, line string) string {
	t.Helper()
	printed, err := kit.RunFor(5*time.Minute, "bash", "-eu", "-o", "pipefail", "-c", line)
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	return printed
}

// refused runs a command that must fail within a minute and print all of the texts.
func refused(t *testing.T, cmd *exec.Cmd, texts ...string) {
	t.Helper()
	giveUp := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer giveUp.Stop()
	printed, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("want exit status 1, got %v:\n%s", err, printed)
	}
	for _, text := range texts {
		if !strings.Contains(string(printed), text) {
			t.Errorf("the output does not contain %q:\n%s", text, printed)
		}
	}
}

// running is a running command in its own process group.
type running struct {
	cmd    *exec.Cmd
	exited chan struct{}

	mu      sync.Mutex
	printed bytes.Buffer
}

// Write records the command's output.
func (r *running) Write(text []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.printed.Write(text)
}

func (r *running) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.printed.String()
}

func start(t *testing.T, verb string) *running {
	t.Helper()
	r := &running{cmd: command(verb), exited: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = r, r
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.WaitDelay = 5 * time.Second
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.exited)
	}()
	return r
}

// waitFor waits until the command has printed the text.
func (r *running) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(r.output(), text) {
			return
		}
		select {
		case <-r.exited:
			t.Fatalf("the command ended without printing %q:\n%s", text, r.output())
		default:
		}
		if time.Now().After(deadline) {
			r.signal(t, syscall.SIGKILL)
			t.Fatalf("the command did not print %q:\n%s", text, r.output())
		}
	}
}

// signal sends a signal to the whole group, as a terminal or a power failure does, and waits for the command to end.
func (r *running) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-r.cmd.Process.Pid, signal); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.exited:
	case <-time.After(2 * time.Minute):
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
		t.Fatalf("the command did not end after signal %s:\n%s", signal, r.output())
	}
}
