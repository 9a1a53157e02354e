package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/breaker"
)

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	backingtest.Eventually(t, 10*time.Second, func() error {
		if !condition() {
			return errors.New("not yet: " + what)
		}
		return nil
	})
}

func TestRecoveredServiceGetsRequestsSoon(t *testing.T) {
	var away atomic.Bool
	var probes atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			probes.Add(1)
		}
		if away.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := New("user-service", base, newSigner(t), prometheus.NewRegistry())
	defer s.client.CloseIdleConnections()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Watch(ctx); close(ended) }()
	defer func() { stop(); <-ended }()

	away.Store(true)
	for range 5 {
		ask(t, s, "/")
	}
	if s.Breaker.State() != breaker.Open {
		t.Fatal("the breaker didn't open")
	}
	eventually(t, "the service is probed", func() bool { return probes.Load() > 1 })
	if s.Breaker.State() != breaker.Open {
		t.Error("a failed health check lets a request try")
	}
	away.Store(false)
	eventually(t, "a request may try", func() bool { return s.Breaker.State() == breaker.HalfOpen })
	ask(t, s, "/")
	if s.Breaker.State() != breaker.Closed {
		t.Error("the try succeeded, and the breaker isn't closed")
	}
	before := probes.Load()
	time.Sleep(2 * probeEvery)
	if probes.Load() != before {
		t.Error("a healthy service is probed")
	}
}
