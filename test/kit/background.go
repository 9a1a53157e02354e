package kit

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Background is a command that runs in the background, in its own process group.
type Background struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // valid once exited is closed

	mu      sync.Mutex
	printed bytes.Buffer
}

// Start starts a command and records its standard output, and its standard error unless cmd.Stderr is set.
func Start(t *testing.T, cmd *exec.Cmd) *Background {
	t.Helper()
	b := &Background{cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout = b
	if cmd.Stderr == nil {
		cmd.Stderr = b
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = 5 * time.Second
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		b.err = cmd.Wait()
		close(b.exited)
	}()
	return b
}

// Write records the output of the command.
func (b *Background) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.printed.Write(text)
}

// Printed returns the output so far.
func (b *Background) Printed() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.printed.String()
}

// PID returns the process ID of the command.
func (b *Background) PID() int { return b.cmd.Process.Pid }

// WaitFor waits until the output contains the text. It returns an error after the limit, or if the command ends before.
func (b *Background) WaitFor(limit time.Duration, text string) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		ended := false
		select {
		case <-b.exited:
			ended = true
		default:
		}
		switch printed := b.Printed(); {
		case strings.Contains(printed, text):
			return nil
		case ended:
			return fmt.Errorf("the command ended without printing %q: %s\n%s", text, b.cmd.ProcessState, printed)
		case time.Now().After(deadline):
			return fmt.Errorf("the command did not print %q within %s:\n%s", text, limit, printed)
		}
	}
}

// Wait waits for the end of the command, and returns its error.
func (b *Background) Wait() error {
	<-b.exited
	return b.err
}

// Stop sends a signal to the process group, as a terminal does, and waits for the end of the command. After the limit, Stop kills the
// group and returns an error.
func (b *Background) Stop(signal syscall.Signal, limit time.Duration) error {
	if err := syscall.Kill(-b.PID(), signal); err != nil {
		return err
	}
	select {
	case <-b.exited:
		return nil
	case <-time.After(limit):
		_ = syscall.Kill(-b.PID(), syscall.SIGKILL)
		return fmt.Errorf("the command did not end within %s after signal %s:\n%s", limit, signal, b.Printed())
	}
}
