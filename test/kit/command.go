package kit

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

const (
	// CommandLimit is the time limit of a command. It is generous, because make and pulumi may have to compile first.
	CommandLimit = 3 * time.Minute
	// updateLimit is the time limit of an update, which may deploy many services.
	updateLimit = 10 * time.Minute
)

// Run runs a command in the repository's root and returns its standard output. Its error contains standard error, but not
// standard output, which may be secret.
func Run(command ...string) (string, error) { return run(CommandLimit, "", command...) }

// RunFor is like Run, with another time limit.
func RunFor(limit time.Duration, command ...string) (string, error) {
	return run(limit, "", command...)
}

// Feed is like Run, with standard input.
func Feed(input string, command ...string) (string, error) {
	return run(CommandLimit, input, command...)
}

// RunIn runs a shell command in a folder, with the time limit of an update, and returns its standard output and standard error.
func RunIn(folder, line string) (string, error) {
	return RunFor(updateLimit, "bash", "-c", fmt.Sprintf("cd '%s' && (%s) 2>&1", folder, line))
}

func run(limit time.Duration, input string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
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
			err = fmt.Errorf("not done after %s", limit)
		}
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Output returns the standard output of a command that must succeed.
func Output(t *testing.T, command ...string) string {
	t.Helper()
	printed, err := Run(command...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// ParseJSON decodes JSON. Its error doesn't quote the text, which may be secret.
func ParseJSON[T any](text string) (T, error) {
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return value, fmt.Errorf("read JSON: %w", err)
	}
	return value, nil
}

// OutputJSON decodes the JSON output of a command that must succeed.
func OutputJSON[T any](t *testing.T, command ...string) T {
	t.Helper()
	value, err := ParseJSON[T](Output(t, command...))
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(command, " "), err)
	}
	return value
}
