package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandLimit is generous, because make and pulumi may have to compile first.
const commandLimit = 3 * time.Minute

// attempt runs a command in the repository's root and returns its standard output. Its error contains standard error, but not
// standard output, which may be secret.
func attempt(command ...string) (string, error) { return feed("", command...) }

// feed is like attempt, with standard input.
func feed(input string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	// The child processes of make must end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("not done after %s", commandLimit)
		}
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// output returns the output of a command that must succeed.
func output(t *testing.T, command ...string) string {
	t.Helper()
	printed, err := attempt(command...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// parse decodes JSON. The error doesn't quote the text.
func parse[T any](text string) (T, error) {
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return value, fmt.Errorf("read JSON: %w", err)
	}
	return value, nil
}

// parsed returns the JSON output of a command that must succeed.
func parsed[T any](t *testing.T, command ...string) T {
	t.Helper()
	value, err := parse[T](output(t, command...))
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(command, " "), err)
	}
	return value
}
