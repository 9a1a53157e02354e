// Package supervisor keeps the node's processes running: it starts and restarts them, writes their logs, and reports their state
// over HTTP on a Unix socket that only root can access.
package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config is the paths of a supervisor's files.
type Config struct {
	Socket string // the Unix socket; pid files lie beside it
	Logs   string // the folder of the processes' logs and of the supervisor's own log
}

// server holds the processes in the order in which they were started.
type server struct {
	cfg    Config
	report func(string, ...any)

	mu      sync.Mutex
	keepers []*keeper
}

// Run serves until it receives SIGTERM or ctx ends, then stops all processes, the last started first.
func Run(ctx context.Context, cfg Config) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	dir := filepath.Dir(cfg.Socket)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.MkdirAll(cfg.Logs, 0o700)); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	log, err := openLog(filepath.Join(cfg.Logs, "supervisor.log"))
	if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	defer log.Close()
	s := &server{cfg: cfg, report: func(format string, args ...any) {
		fmt.Fprintf(log, "%s %s\n", time.Now().Format(time.RFC3339), fmt.Sprintf(format, args...))
	}}
	if err := endRecorded(dir); err != nil {
		return fmt.Errorf("supervisor: end processes of a previous one: %w", err)
	}
	if err := os.RemoveAll(cfg.Socket); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	listener, err := net.Listen("unix", cfg.Socket)
	if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	if err := errors.Join(os.Chmod(cfg.Socket, 0o600), writePID(filepath.Join(dir, supervisorPID), os.Getpid())); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	s.report("supervisor started, process %d", os.Getpid())

	httpServer := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- httpServer.Serve(listener) }()
	trim := time.NewTicker(time.Minute)
	defer trim.Stop()
	for {
		select {
		case <-trim.C:
			s.trimLogs()
		case err := <-served:
			return errors.Join(err, s.stopAll())
		case <-ctx.Done():
			s.report("supervisor stops")
			err := s.stopAll()
			return errors.Join(err, httpServer.Close())
		}
	}
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /processes", s.list)
	mux.HandleFunc("PUT /processes/{name}", s.put)
	mux.HandleFunc("DELETE /processes/{name}", s.remove)
	return mux
}

func (s *server) list(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	statuses := make([]Status, 0, len(s.keepers))
	for _, k := range s.keepers {
		statuses = append(statuses, k.snapshot())
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(statuses)
}

// put starts a process, or restarts it if its definition has changed.
func (s *server) put(w http.ResponseWriter, r *http.Request) {
	var p Process
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil || len(p.Args) == 0 || p.Name != r.PathValue("name") {
		http.Error(w, "a process needs the name in the path and a command line", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := filepath.Dir(s.cfg.Socket)
	for i, k := range s.keepers {
		if k.process.Name != p.Name {
			continue
		}
		if k.process.equal(p) {
			return
		}
		s.report("%s changed: restarting it", p.Name)
		k.stop()
		s.keepers[i] = keep(p, dir, s.cfg.Logs, s.report)
		return
	}
	s.keepers = append(s.keepers, keep(p, dir, s.cfg.Logs, s.report))
}

func (s *server) remove(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range s.keepers {
		if k.process.Name == r.PathValue("name") {
			k.stop()
			s.keepers = append(s.keepers[:i], s.keepers[i+1:]...)
			return
		}
	}
}

func (s *server) stopAll() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.keepers) - 1; i >= 0; i-- {
		s.keepers[i].stop()
	}
	s.keepers = nil
	return os.Remove(filepath.Join(filepath.Dir(s.cfg.Socket), supervisorPID))
}

func (s *server) trimLogs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keepers {
		if err := trimLog(k.log); err != nil {
			s.report("%s: %v", k.process.Name, err)
		}
	}
}

// Client is a client of the supervisor.
type Client struct {
	cfg  Config
	http *http.Client
}

// Connect returns a client; the supervisor need not run yet.
func Connect(cfg Config) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", cfg.Socket)
	}
	return &Client{cfg: cfg, http: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 2 * stopGrace}}
}

// Ensure starts a supervisor as a separate process unless one responds already. command is the command line of a program that
// calls [Run] with the same configuration.
func (c *Client) Ensure(ctx context.Context, command ...string) error {
	if _, err := c.List(ctx); err == nil {
		return nil
	}
	if err := os.MkdirAll(c.cfg.Logs, 0o700); err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	log, err := openLog(filepath.Join(c.cfg.Logs, "supervisor.log"))
	if err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	// It may first have to end processes of a killed predecessor, with one grace period for each.
	deadline := time.After(time.Minute)
	for {
		select {
		case err := <-exited:
			return fmt.Errorf("the supervisor ended at once (%w): see %s", err, log.Name())
		case <-deadline:
			return fmt.Errorf("the supervisor did not answer within a minute: see %s", log.Name())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
			if _, err := c.List(ctx); err == nil {
				return nil
			}
		}
	}
}

// List returns the processes in the order in which they were started.
func (c *Client) List(ctx context.Context) ([]Status, error) {
	var statuses []Status
	return statuses, c.call(ctx, http.MethodGet, "/processes", nil, &statuses)
}

// Start runs a process; it leaves a running process with the same command line alone.
func (c *Client) Start(ctx context.Context, p Process) error {
	return c.call(ctx, http.MethodPut, "/processes/"+p.Name, p, nil)
}

// Stop stops a process and forgets it. An unknown process is no error.
func (c *Client) Stop(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/processes/"+name, nil, nil)
}

// Shutdown stops the supervisor and all of its processes, including those of a killed supervisor. It returns when all have ended.
func (c *Client) Shutdown() error {
	return endRecorded(filepath.Dir(c.cfg.Socket))
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("supervisor: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, &body)
	if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("supervisor: %s %s: %s", method, path, strings.TrimSpace(string(text)))
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	return nil
}
