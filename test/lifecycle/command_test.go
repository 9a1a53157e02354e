package lifecycle

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
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

// interrupted starts up and waits until it prints the text. It then sends a signal to the whole process group, as a terminal or a power
// failure does, and returns the output.
func interrupted(t *testing.T, text string, signal syscall.Signal) string {
	t.Helper()
	up := kit.Start(t, command("up"))
	if err := up.WaitFor(5*time.Minute, text); err != nil {
		_ = up.Stop(syscall.SIGKILL, time.Minute)
		t.Fatal(err)
	}
	if err := up.Stop(signal, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	return up.Printed()
}
