package servicetest

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"
)

// Binary is the binary of a service, for tests that run several services or kill one.
type Binary struct {
	t    testing.TB
	path string
	env  []string
}

// Build compiles the service with the package path pkg, such as "platform.example/apps/user-service". It runs
// with the environment env.
func Build(t testing.TB, pkg string, env map[string]string) *Binary {
	t.Helper()
	b := &Binary{t: t, path: filepath.Join(t.TempDir(), path.Base(pkg))}
	if out, err := exec.Command("go", "build", "-o", b.path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
	for name, value := range env {
		b.env = append(b.env, name+"="+value)
	}
	return b
}

// Run runs a subcommand to its end.
func (b *Binary) Run(args ...string) {
	b.t.Helper()
	c := exec.Command(b.path, args...)
	c.Env = b.env
	if out, err := c.CombinedOutput(); err != nil {
		b.t.Fatalf("%s %v: %v\n%s", filepath.Base(b.path), args, err, out)
	}
}

// Process is a service that runs in a separate process.
type Process struct {
	*Running
	command *exec.Cmd
}

// Start runs the service until the test ends, or until Stop or Kill is called.
func (b *Binary) Start() *Process {
	b.t.Helper()
	c := exec.Command(b.path)
	c.Env = b.env
	interrupt := func() {
		if c.Process != nil {
			_ = c.Process.Signal(os.Interrupt)
		}
	}
	return &Process{run(b.t, filepath.Base(b.path), interrupt, func(logs *Logs) error {
		c.Stdout, c.Stderr = logs, logs
		return c.Run()
	}), c}
}

// PID returns the id of the process.
func (p *Process) PID() int { return p.command.Process.Pid }

// Kill kills the service, like the loss of its node.
func (p *Process) Kill() {
	_ = p.command.Process.Kill()
	<-p.ended
	p.err = nil
}
