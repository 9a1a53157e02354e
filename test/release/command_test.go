package release

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// releaseLimit is the time limit of a release in these tests, including its watch.
const releaseLimit = 4 * time.Minute

// releaseCommand returns `release` with these arguments, run from a copy of the sources.
func releaseCommand(ctx context.Context, folder string, arguments ...string) *exec.Cmd {
	program, _ := filepath.Abs(filepath.Join("bin", "release"))
	command := exec.CommandContext(ctx, program, append([]string{"-json"}, arguments...)...)
	command.Dir = folder
	// The child processes of pulumi must end with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// An interrupted release releases its locks and operations.
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGINT) }
	command.WaitDelay = time.Minute
	return command
}

// progressLine is a line that the release command prints.
type progressLine struct {
	Said    string `json:"said"`
	Event   string `json:"event"`
	Outcome string `json:"outcome"`
	Why     string `json:"why"`
	Report  string `json:"report"`
}

// releasing is a running release command.
type releasing struct {
	command *exec.Cmd
	mutex   sync.Mutex
	lines   []progressLine
	stderr  bytes.Buffer
	done    chan error
}

// begin starts the release command from a copy of the sources.
func begin(t *testing.T, folder string, arguments ...string) *releasing {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
	r := &releasing{command: releaseCommand(ctx, folder, arguments...), done: make(chan error, 1)}
	printed, err := r.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.command.Stderr = &r.stderr
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer cancel()
		lines := bufio.NewScanner(printed)
		for lines.Scan() {
			var line progressLine
			if json.Unmarshal(lines.Bytes(), &line) == nil {
				r.mutex.Lock()
				r.lines = append(r.lines, line)
				r.mutex.Unlock()
			}
		}
		r.done <- r.command.Wait()
	}()
	return r
}

// transcript returns the output so far.
func (r *releasing) transcript() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var text strings.Builder
	for _, line := range r.lines {
		fmt.Fprintln(&text, strings.TrimSpace(line.Said+line.Event+" "+line.Outcome+" "+line.Why))
	}
	return text.String()
}

// until waits until the output contains the words, and returns an error if the command ends before.
func (r *releasing) until(words string) error {
	return kit.Within(releaseLimit, func() error {
		if strings.Contains(r.transcript(), words) {
			return nil
		}
		return fmt.Errorf("the output doesn't contain %q, but\n%s%s", words, r.transcript(), &r.stderr)
	})
}

// end waits for the end of the command, and returns nil or an error with its output.
func (r *releasing) end() error {
	err := <-r.done
	_ = syscall.Kill(-r.command.Process.Pid, syscall.SIGKILL) // processes that outlived the interrupt
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, r.transcript(), &r.stderr)
	}
	return nil
}

// kill kills the command and its pulumi process.
func (r *releasing) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-r.command.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.done
}

// release runs the release command to its end.
func release(t *testing.T, folder string, arguments ...string) error {
	t.Helper()
	return begin(t, folder, arguments...).end()
}
