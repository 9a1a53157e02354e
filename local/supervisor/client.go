package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

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
			return fmt.Errorf("the supervisor did not respond within a minute: see %s", log.Name())
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
