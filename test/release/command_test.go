package release

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// releaseLimit is the time limit of a release in these tests, including its watch.
const releaseLimit = 4 * time.Minute

// releasing is a running release command.
type releasing struct {
	*kit.Background
	stderr bytes.Buffer
}

// begin starts `release` with these arguments, from the sources in a folder.
func begin(t *testing.T, folder string, arguments ...string) *releasing {
	t.Helper()
	program, err := filepath.Abs(filepath.Join("bin", "release"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
	command := exec.CommandContext(ctx, program, append([]string{"-json"}, arguments...)...)
	command.Dir = folder
	// An interrupted release releases its locks and operations. The child processes of pulumi end with it.
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGINT) }
	command.WaitDelay = time.Minute
	r := &releasing{}
	command.Stderr = &r.stderr
	r.Background = kit.Start(t, command)
	go func() {
		_ = r.Wait()
		cancel()
	}()
	return r
}

// transcript returns the output so far without the JSON.
func (r *releasing) transcript() string {
	var text strings.Builder
	for printed := range strings.Lines(r.Printed()) {
		if line, err := kit.ParseJSON[struct{ Said, Event, Outcome, Why string }](printed); err == nil {
			fmt.Fprintln(&text, strings.TrimSpace(line.Said+line.Event+" "+line.Outcome+" "+line.Why))
		}
	}
	return text.String()
}

// The fields of the output that a test waits for.
const (
	step  = "step"  // of the update, which is complete
	event = "event" // of the release
)

// until waits until a field of the output has a value that begins so, and returns an error if the command ends before.
func (r *releasing) until(field, value string) error {
	if err := r.WaitFor(releaseLimit, fmt.Sprintf(`"%s":"%s`, field, value)); err != nil {
		return fmt.Errorf("%w%s", err, &r.stderr)
	}
	return nil
}

// end waits for the end of the command, and returns nil or an error with its output.
func (r *releasing) end() error {
	err := r.Wait()
	_ = syscall.Kill(-r.PID(), syscall.SIGKILL) // processes that outlived the interrupt
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, r.transcript(), &r.stderr)
	}
	return nil
}

// kill kills the command and its pulumi process.
func (r *releasing) kill(t *testing.T) {
	t.Helper()
	if err := r.Stop(syscall.SIGKILL, releaseLimit); err != nil {
		t.Fatal(err)
	}
}

// release runs the release command to its end.
func release(t *testing.T, folder string, arguments ...string) error {
	t.Helper()
	return begin(t, folder, arguments...).end()
}
