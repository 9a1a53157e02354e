// Package backingtest runs real backing services for tests: Postgres and Redis from Debian's packages, each
// started for one test and killed at its end.
package backingtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startDeadline is long because test machines may be busy compiling.
const startDeadline = 60 * time.Second

// Must returns a function that returns the value of a call, as in Must[T](t)(call()). It ends the test if the
// call fails.
func Must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// Eventually polls until condition returns nil. It ends the test if that takes longer than deadline.
func Eventually(t testing.TB, deadline time.Duration, condition func() error) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(deadline); ; <-poll.C {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %v", deadline, err)
		}
	}
}

// process is a server, which can be started again after its end.
type process struct {
	t       testing.TB
	command *exec.Cmd
	quit    syscall.Signal // ends the server at once, with all its children
	output  *bytes.Buffer
	exited  chan struct{}
}

// start runs the server as the given account until the test ends.
func (p *process) start(as *syscall.Credential, binary string, args ...string) {
	p.t.Helper()
	command, exited, started := exec.Command(binary, args...), make(chan struct{}), make(chan error)
	p.command, p.exited, p.output = command, exited, &bytes.Buffer{}
	command.Stdout, command.Stderr = p.output, p.output
	command.Dir = "/"
	// The kernel kills the server if the test binary is killed.
	command.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGKILL}
	go func() {
		// Pdeathsig follows the thread that started the server, not the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // the server is always killed
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		p.t.Fatalf("starting %s: %v", binary, err)
	}
	p.t.Cleanup(p.Stop)
}

// Stop stops the server at once, like a crash.
func (p *process) Stop() {
	_ = p.command.Process.Signal(p.quit) // no effect if it has ended
	_ = p.command.Process.Signal(syscall.SIGCONT)
	<-p.exited
}

// Hang suspends the server until Resume: it doesn't respond on open connections, and accepts new ones without
// a response.
func (p *process) Hang() { p.signal(syscall.SIGSTOP) }

// Resume ends Hang.
func (p *process) Resume() { p.signal(syscall.SIGCONT) }

// signal sends a signal to the server and to its children.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	pid := p.command.Process.Pid
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Fatalf("signalling the server: %v", err)
	}
	children := Must[[]byte](p.t)(os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)))
	for _, field := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			p.t.Fatalf("parsing the children of the server: %v", err)
		}
		_ = syscall.Kill(child, s) // fails only if the child has ended
	}
}

// waitFor waits until ready returns nil. It ends the test with the output of the server if the server exits.
func (p *process) waitFor(name string, ready func(context.Context) error) {
	p.t.Helper()
	Eventually(p.t, startDeadline, func() error {
		select {
		case <-p.exited:
			p.t.Fatalf("%s exited at once:\n%s", name, p.output.String())
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return ready(ctx)
	})
}

// Find returns the path of a binary. It ends the test with the name of the Debian package if the binary is
// missing.
func Find(t testing.TB, debianPackage string, candidates ...string) string {
	t.Helper()
	for _, candidate := range candidates {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("this test needs %s: install the Debian package with `apt-get install %s`",
		filepath.Base(candidates[0]), debianPackage)
	return ""
}

// freePort returns an unused port.
func freePort(t testing.TB) string {
	t.Helper()
	listener := Must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer func() { _ = listener.Close() }()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// account returns a directory for a server and the account that owns it. Postgres refuses to run as root, so
// root's tests run it as the account of its package.
func account(t testing.TB, name string) (dir string, as *syscall.Credential) {
	t.Helper()
	dir = Must[string](t)(os.MkdirTemp("", name))
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing the directory of %s: %v", name, err)
		}
	})
	if os.Geteuid() != 0 {
		return dir, nil
	}
	as = &syscall.Credential{}
	known, err := user.Lookup(name)
	if err == nil {
		_, err = fmt.Sscan(known.Uid+" "+known.Gid, &as.Uid, &as.Gid)
	}
	if err == nil {
		err = os.Chown(dir, int(as.Uid), int(as.Gid))
	}
	if err != nil {
		t.Fatalf("running %s as a separate account: %v", name, err)
	}
	return dir, as
}
