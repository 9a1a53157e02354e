package promotion

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// machine looks like a separate machine to a node: it consists of namespaces and cgroups of this machine.
type machine struct {
	t                    *testing.T
	name, sources, state string
	script               string
	process              *exec.Cmd
	inside               string // PID of the process that holds the namespaces
}

// newMachine creates a machine that uses these sources. It ends with all of its processes when the test ends.
func newMachine(t *testing.T, name, sources string) *machine {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("test", "promotion", "testdata", "machine.sh"))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{
		t: t, name: "promotion-" + name, sources: sources, state: "/var/lib/promotion-" + name, // data of the node: t.TempDir may be in memory
		script: script,
	}
	if err := errors.Join(m.clear(), os.Mkdir(m.state, 0o700)); err != nil { // of an interrupted test
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
	if line, err := bufio.NewReader(printed).ReadString('\n'); err != nil {
		t.Fatalf("machine %s: %v %s", name, err, line)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m.inside = strings.TrimSpace(string(children))
	return m
}

func (m *machine) end() {
	_ = m.process.Process.Kill() // this ends the process that holds the namespaces, and with it all processes in them
	_ = m.process.Wait()
	if err := m.clear(); err != nil {
		m.t.Error(err)
	}
}

// clear removes the cgroups and folders of an ended machine.
func (m *machine) clear() error {
	var printed []byte
	var err error
	for range 50 { // the last processes need some time to end
		if printed, err = exec.Command(m.script, "remove", m.name).CombinedOutput(); err == nil {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("cgroups of machine %s: %w: %s", m.name, err, printed)
	}
	created, _ := os.ReadFile(filepath.Join(m.state, "made"))
	for folder := range strings.FieldsSeq(string(created)) {
		err = errors.Join(err, os.Remove(folder))
	}
	return errors.Join(err, os.RemoveAll(m.state))
}

// command returns a shell command on the machine, in the folder of the sources.
func (m *machine) command(ctx context.Context, line string) *exec.Cmd {
	command := exec.CommandContext(ctx, m.script, "enter", m.name, m.inside, "bash", "-eu", "-o", "pipefail", "-c", line)
	command.Dir = m.sources
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGINT) }
	command.WaitDelay = 20 * time.Second
	return command
}

// limit is the time limit of a command.
const limit = 6 * time.Minute

// try runs a shell command on the machine and returns its output.
func (m *machine) try(line string) (string, error) { return m.tryFor(limit, line) }

// tryFor is like try, with another time limit.
func (m *machine) tryFor(limit time.Duration, line string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), limit)
	defer cancel()
	printed, err := m.command(ctx, line).CombinedOutput()
	return string(printed), err
}

// run is like try, but fails the test on an error.
func (m *machine) run(line string) string {
	m.t.Helper()
	printed, err := m.try(line)
	if err != nil {
		m.t.Fatalf("%s: %s: %v\n%s", m.name, line, err, printed)
	}
	return printed
}

// refuses runs a shell command that must fail and print the text.
func (m *machine) refuses(line, want string) {
	m.t.Helper()
	if printed, err := m.try(line); err == nil || !strings.Contains(printed, want) {
		m.t.Errorf("%s: %s: %v, want %q\n%s", m.name, line, err, want, printed)
	}
}

// begin starts a shell command on the machine. interrupt stops it, waits for its end, and returns its output.
func (m *machine) begin(line string) (interrupt func() string) {
	m.t.Helper()
	command := kit.Start(m.t, m.command(m.t.Context(), line))
	return func() string {
		_ = command.Stop(syscall.SIGINT, limit) // also reads the output after the signal
		return command.Printed()
	}
}

// node starts only the node: it interrupts `make up` before the deployment.
func (m *machine) node() {
	m.t.Helper()
	up := kit.Start(m.t, m.command(m.t.Context(), "exec bin/local up"))
	if err := up.WaitFor(40*time.Minute, "generating missing secrets"); err != nil { // it may have to compile all tools
		m.t.Fatalf("%s: the node did not start: %v", m.name, err)
	}
	_ = up.Stop(syscall.SIGINT, limit)
}
