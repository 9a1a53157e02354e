// Package servicetest runs a service in a test as main does, on free ports, and sends requests to it.
package servicetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/service"
)

const startDeadline = 60 * time.Second

// Running is a running service.
type Running struct {
	HTTP, Ops string // base URLs

	logs   *Logs
	cancel func()
	ended  chan struct{}
	err    error
}

// Env merges environments with the defaults of a test; later ones win.
func Env(parts ...map[string]string) map[string]string {
	env := map[string]string{
		"HTTP_ADDR": "127.0.0.1:0", "OPS_ADDR": "127.0.0.1:0", "SHUTDOWN_DELAY": "0s", "LOG_LEVEL": "debug",
		"IDENTITY_KEYS": "test:" + seed, "IDENTITY_PUBLIC_KEYS": "test:" + public,
	}
	for _, part := range parts {
		maps.Copy(env, part)
	}
	return env
}

// Start runs the service until the test ends or Stop is called.
func Start(t testing.TB, name string, commands service.Commands, env map[string]string) *Running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	return run(t, name, cancel, func(logs *Logs) error {
		err := service.Run(ctx, commands, nil, process(env, logs))
		if err != nil {
			_, _ = fmt.Fprintln(logs, err) // as Main does
		}
		return err
	})
}

// run runs a service with do, which returns after cancel, until the test ends. It waits until the logs contain
// the addresses of the service, and ends the test if the service ends before.
func run(t testing.TB, name string, cancel func(), do func(*Logs) error) *Running {
	t.Helper()
	s := &Running{logs: &Logs{}, cancel: cancel, ended: make(chan struct{})}
	go func() {
		s.err = do(s.logs)
		close(s.ended)
	}()
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("%s ended with: %v\n%s", name, err, s.logs)
		}
	})
	backingtest.Eventually(t, startDeadline, func() error {
		select {
		case <-s.ended:
			t.Fatalf("%s ended at once:\n%s", name, s.logs)
		default:
		}
		var found bool
		if s.HTTP, s.Ops, found = s.logs.listening(); !found {
			return errors.New("the log contains no addresses:\n" + s.logs.String())
		}
		names.Store(strings.TrimPrefix(s.HTTP, "http://"), name)
		return nil
	})
	return s
}

// Stop stops the service and returns its error.
func (s *Running) Stop() error {
	s.cancel()
	<-s.ended
	return s.err
}

// Logs returns the logs of the service so far.
func (s *Running) Logs() string { return s.logs.String() }

// Run runs a command of a service to its end and returns its output.
func Run(commands service.Commands, env map[string]string, args ...string) (string, error) {
	out := &Logs{}
	err := service.Run(context.Background(), commands, args, process(env, out))
	return out.String(), err
}

func process(env map[string]string, out io.Writer) service.Process {
	return service.Process{
		Lookup: func(name string) (string, bool) { value, ok := env[name]; return value, ok },
		Stdout: out,
	}
}

// Response is the response of a service.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// JSON decodes the body of a response.
func JSON[T any](t testing.TB, r Response) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(r.Body), &value); err != nil {
		t.Fatalf("the response %d is not JSON: %v\n%s", r.Status, err, r.Body)
	}
	return value
}

// Call sends a request, with body as JSON unless it is "". Headers are "Name: value".
func Call(t testing.TB, method, url, body string, headers ...string) Response {
	t.Helper()
	request := backingtest.Must[*http.Request](t)(http.NewRequest(method, url, strings.NewReader(body)))
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the response: %v", method, url, err)
	}
	return Response{Status: response.StatusCode, Header: response.Header, Body: string(raw)}
}

// CountersBeginAtZero fails the test if a service that has had no request lacks a counter of testdata/counters. The
// alerts need them, because a rate doesn't count the first sample of a series.
func CountersBeginAtZero(t testing.TB, ops string) {
	t.Helper()
	metrics := Call(t, "GET", ops+"/metrics", "").Body
	for line := range strings.Lines(string(backingtest.Must[[]byte](t)(os.ReadFile("testdata/counters")))) {
		if !strings.Contains(metrics, "\n"+line) {
			t.Errorf("before the first request, /metrics lacks %s", line)
		}
	}
}

// Logs collects output that several goroutines write.
type Logs struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// listening returns the addresses in the log line "listening".
func (l *Logs) listening() (http, ops string, found bool) {
	for line := range strings.Lines(l.String()) {
		var entry struct{ Msg, HTTP, Ops string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
			return "http://" + entry.HTTP, "http://" + entry.Ops, true
		}
	}
	return "", "", false
}

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

// Verifies runs the service's subcommand verify against the service at the URL at, started with env. It must
// pass, and must fail for another version.
func Verifies(t testing.TB, name string, commands service.Commands, env map[string]string, at string) {
	t.Helper()
	verify := func(more map[string]string) (string, error) {
		return Run(commands, Env(env, map[string]string{
			"VERIFY_URL": at, "VERIFY_ENDPOINTS": "1", "VERIFY_LATENCY": "10s", "VERIFY_LATENCY_SHARE": "0.99",
		}, more), "verify")
	}
	if output, err := verify(nil); err != nil || !strings.HasPrefix(output, "verify: 1 endpoint of "+name+" ") || strings.Count(output, "\n") != 1 {
		t.Errorf("the verification fails: %v\n%s", err, output)
	}
	output, err := verify(map[string]string{"SERVICE_VERSION": "ffffffffffff", "VERIFY_PATIENCE": "0s"})
	if runs := "verify: endpoint " + strings.TrimPrefix(at, "http://") + " runs " + name + " "; err == nil || output != "" ||
		!strings.HasPrefix(err.Error(), runs) || !strings.Contains(err.Error(), ", want ffffffffffff in ") {
		t.Errorf("the verification of another version: %v\n%s", err, output)
	}
}
