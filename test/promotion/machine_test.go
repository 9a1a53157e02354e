package promotion

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a machine of its own as far as a node can tell: namespaces and cgroups of this one.
type machine struct {
	t                    *testing.T
	name, sources, state string
	script               string
	process              *exec.Cmd
	inside               string // the process that holds the namespaces
}

// newMachine begins one, which works on these sources, and ends it with all that runs there when the test ends.
func newMachine(t *testing.T, name, sources string) *machine {
	t.Helper()
	root, err := os.Getwd() // TestMain went there
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{
		t: t, name: "promotion-" + name, sources: sources, state: "/var/lib/promotion-" + name, // where nodes keep what they store: t.TempDir may be in memory
		script: filepath.Join(root, "test", "promotion", "testdata", "machine.sh"),
	}
	if err := errors.Join(m.clear(), os.Mkdir(m.state, 0o700)); err != nil { // of a test that was cut off
		t.Fatal(err)
	}
	m.process = exec.Command(m.script, "start", m.name, m.state)
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.process.Stderr = os.Stderr
	printed, err := m.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.end)
	if said, err := bufio.NewReader(printed).ReadString('\n'); err != nil {
		t.Fatalf("machine %s: %v %s", name, err, said)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m.inside = strings.TrimSpace(string(children))
	return m
}

func (m *machine) end() {
	_ = m.process.Process.Kill() // what holds the namespaces dies with it, and with that all that runs in them
	_ = m.process.Wait()
	if err := m.clear(); err != nil {
		m.t.Error(err)
	}
}

// clear takes away what one that has ended leaves: cgroups and folders.
func (m *machine) clear() error {
	var said []byte
	var err error
	for range 50 { // the last processes take their time to go
		if said, err = exec.Command(m.script, "remove", m.name).CombinedOutput(); err == nil {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("cgroups of machine %s: %w: %s", m.name, err, said)
	}
	made, _ := os.ReadFile(filepath.Join(m.state, "made"))
	for folder := range strings.FieldsSeq(string(made)) {
		err = errors.Join(err, os.Remove(folder))
	}
	return errors.Join(err, os.RemoveAll(m.state))
}

// command is a line of shell there, in the sources.
func (m *machine) command(ctx context.Context, line string) *exec.Cmd {
	command := exec.CommandContext(ctx, m.script, "enter", m.name, m.inside, "bash", "-eu", "-o", "pipefail", "-c", line)
	command.Dir = m.sources
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGINT) }
	command.WaitDelay = 20 * time.Second
	return command
}

// limit is how long a command may take.
const limit = 6 * time.Minute

// try runs a line of shell there, and returns what it says.
func (m *machine) try(line string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), limit)
	defer cancel()
	said, err := m.command(ctx, line).CombinedOutput()
	return string(said), err
}

// run is try for what must succeed.
func (m *machine) run(line string) string {
	m.t.Helper()
	said, err := m.try(line)
	if err != nil {
		m.t.Fatalf("%s: %s: %v\n%s", m.name, line, err, said)
	}
	return said
}

// refuses is try for what must fail and say this.
func (m *machine) refuses(line, want string) {
	m.t.Helper()
	if said, err := m.try(line); err == nil || !strings.Contains(said, want) {
		m.t.Errorf("%s: %s: %v, want %q\n%s", m.name, line, err, want, said)
	}
}

// begin starts a line of shell there, and returns how to interrupt it: that waits for its end, and returns what it has said.
func (m *machine) begin(line string) (interrupt func() string) {
	m.t.Helper()
	var said bytes.Buffer
	command := m.command(m.t.Context(), line)
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		m.t.Fatal(err)
	}
	return func() string {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGINT)
		_ = command.Wait() // what entered the machine ends by the signal; what it says later is still read
		return said.String()
	}
}

// node brings up the node alone: `make up` is interrupted before it deploys anything.
func (m *machine) node() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 40*time.Minute) // it may have to compile all tools
	defer cancel()
	up := m.command(ctx, "exec bin/local up")
	printed, err := up.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		m.t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(io.TeeReader(printed, &said)); lines.Scan(); {
		if strings.Contains(lines.Text(), "secrets: generating") {
			_ = syscall.Kill(-up.Process.Pid, syscall.SIGINT)
			break
		}
	}
	_, _ = io.Copy(io.Discard, printed)
	if err := up.Wait(); !strings.Contains(said.String(), "secrets: generating") {
		m.t.Fatalf("%s: there is no node: %v\n%s", m.name, err, said.String())
	}
}
