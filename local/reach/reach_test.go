package reach

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"platform.example/local/progress"
)

func TestHostIsReachable(t *testing.T) {
	for _, c := range []struct {
		name      string
		status    int
		reachable bool
	}{
		{"that has the file", http.StatusOK, true},
		{"that lacks the file", http.StatusNotFound, true},
		{"that requires a sign-in", http.StatusUnauthorized, true},
		{"that a proxy refuses", http.StatusForbidden, false},
		{"that a proxy doesn't reach", http.StatusBadGateway, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				w.WriteHeader(c.status)
			}))
			defer server.Close()
			hosts := New(time.Minute, progress.New(io.Discard))
			results := make(chan bool)
			for _, path := range []string{"/a", "/b", "/a"} {
				go func() { results <- hosts.Reachable(server.URL + path) }()
			}
			for range 3 {
				if got := <-results; got != c.reachable {
					t.Errorf("reachable: %v", got)
				}
			}
			if requests.Load() != 1 {
				t.Errorf("%d requests", requests.Load())
			}
		})
	}
}

func TestHostIsNotReachable(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	moved := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:1/file", http.StatusFound))
	defer moved.Close()
	for _, c := range []struct {
		name, address string
		limit         time.Duration
		reason        string
	}{
		{"that doesn't answer", silent.URL + "/file", 100 * time.Millisecond, "Client.Timeout exceeded"},
		{"that refuses", "http://127.0.0.1:1/file", time.Minute, "connect: connection refused"},
		{"whose files are on a host that refuses", moved.URL + "/file", time.Minute, "dial tcp 127.0.0.1:1: connect: connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var logged bytes.Buffer
			hosts := New(c.limit, progress.New(&logged))
			for range 2 {
				if hosts.Reachable(c.address) {
					t.Error("reachable")
				}
			}
			host := strings.Split(c.address, "/")[2]
			if strings.Count(logged.String(), host+" can't be reached: ") != 1 || !strings.Contains(logged.String(), c.reason) {
				t.Errorf("logged %q", logged.String())
			}
		})
	}
}
