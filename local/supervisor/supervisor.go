// Package supervisor keeps the node's processes running: it starts and restarts them, writes their logs, and reports their state
// over HTTP on a Unix socket that only root can access.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Config is the paths of a supervisor's files.
type Config struct {
	// Socket is the path of the Unix socket. Pid files lie beside it.
	Socket string
	// Logs is the folder of the processes' logs and of the supervisor's own log.
	Logs string
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
	for _, d := range []string{dir, cfg.Logs} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("supervisor: %w", err)
		}
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
	if err := os.Chmod(cfg.Socket, 0o600); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	if err := writePID(filepath.Join(dir, supervisorPID), os.Getpid()); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	s.report("supervisor started, process %d", os.Getpid())

	mux := http.NewServeMux()
	mux.HandleFunc("GET /processes", s.list)
	mux.HandleFunc("PUT /processes/{name}", s.put)
	mux.HandleFunc("DELETE /processes/{name}", s.remove)
	httpServer := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
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

func (s *server) list(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	statuses := make([]Status, 0, len(s.keepers))
	for _, k := range s.keepers {
		k.mu.Lock()
		statuses = append(statuses, k.status)
		k.mu.Unlock()
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
	start := func() *keeper {
		ctx, cancel := context.WithCancel(context.Background())
		k := &keeper{
			process: p, dir: filepath.Dir(s.cfg.Socket), log: filepath.Join(s.cfg.Logs, p.Name+".log"), report: s.report,
			status: Status{Process: p}, cancel: cancel, done: make(chan struct{}),
		}
		go k.run(ctx)
		return k
	}
	at := slices.IndexFunc(s.keepers, func(k *keeper) bool { return k.process.Name == p.Name })
	switch {
	case at < 0:
		s.keepers = append(s.keepers, start())
	case !reflect.DeepEqual(s.keepers[at].process, p):
		s.report("%s changed: restarting it", p.Name)
		s.keepers[at].stop()
		s.keepers[at] = start()
	}
}

func (s *server) remove(_ http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepers = slices.DeleteFunc(s.keepers, func(k *keeper) bool {
		named := k.process.Name == r.PathValue("name")
		if named {
			k.stop()
		}
		return named
	})
}

func (s *server) stopAll() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Backward(s.keepers) {
		k.stop()
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
