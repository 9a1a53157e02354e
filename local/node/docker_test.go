package node

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// listen opens a Unix socket with a short path, wherever TMPDIR points.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "docker")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	socket := filepath.Join(folder, "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener, socket
}

// answering is an engine that responds its ping with the given status.
func answering(t *testing.T, status int) (socket string) {
	t.Helper()
	listener, socket := listen(t)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_ping" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

func TestDockerHost(t *testing.T) {
	_, silent := listen(t) // the kernel accepts connections, but no process answers
	live, broken := answering(t, http.StatusOK), answering(t, http.StatusInternalServerError)
	for _, c := range []struct{ name, host, address, fault string }{
		{"an engine that responds", "unix://" + live, "unix://" + live, ""},
		{"an engine that never responds", "unix://" + silent, "", "the Docker Engine at DOCKER_HOST=unix://" + silent + " does not respond ("},
		{"a broken engine", "unix://" + broken, "", "does not respond (it returns 500 Internal Server Error): start it, or unset DOCKER_HOST"},
		{"a missing engine", "unix:///no/such.sock", "", "the Docker Engine at DOCKER_HOST=unix:///no/such.sock does not respond ("},
		{"an engine on another machine", "tcp://build.example:2376", "",
			"DOCKER_HOST is tcp://build.example:2376: the local node needs an engine on this machine: unset it, or set it to unix://<socket>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("DOCKER_HOST", c.host)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			address, err := machineDocker(ctx)
			if address != c.address || (err == nil) != (c.fault == "") || (err != nil && !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("%q, %v, want %q, %q", address, err, c.address, c.fault)
			}
		})
	}
}

// These errors distinguish a machine without an engine from one whose engine hangs.
func TestPingDistinguishesAbsentFromSilent(t *testing.T) {
	_, silent := listen(t)
	listener, left := listen(t)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = listener.Close()
	for _, c := range []struct {
		name, socket string
		want         error
	}{
		{"no socket", filepath.Join(t.TempDir(), "none"), os.ErrNotExist},
		{"the socket of a stopped engine", left, syscall.ECONNREFUSED},
		{"an engine that never responds", silent, context.DeadlineExceeded},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := pingDocker(ctx, c.socket); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		cancel()
	}
}

// After eval "$(make env)", DOCKER_HOST points to the node's own engine, which isn't the machine's.
func TestNodesOwnEngineIsNotTheMachines(t *testing.T) {
	if _, err := os.Stat(machineDockerSocket); err == nil {
		t.Skip("this machine has its own engine")
	}
	for _, host := range []string{"", "unix:///var/lib/platform/node/run/docker.sock"} {
		t.Setenv("DOCKER_HOST", host)
		if address, err := machineDocker(t.Context()); address != "" || err != nil {
			t.Errorf("DOCKER_HOST=%s: %q, %v", host, address, err)
		}
	}
}
