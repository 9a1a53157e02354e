package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"platform.example/apps/internal/problem"
)

// discovery is a provider that sends its configuration after a pause, unless it is unavailable, and counts the requests.
type discovery struct {
	*httptest.Server
	pause    time.Duration
	away     atomic.Bool
	requests atomic.Int64
}

func newDiscovery(t *testing.T, pause time.Duration) (*discovery, *Provider) {
	t.Helper()
	d := &discovery{pause: pause}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.requests.Add(1)
		time.Sleep(d.pause)
		if d.away.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": d.URL, "jwks_uri": d.URL + "/keys"})
	}))
	t.Cleanup(d.Close)
	return d, &Provider{issuer: d.URL, clientID: "shop"}
}

// codeOf returns the code of the error of a sign-in with an invalid token.
func codeOf(ctx context.Context, p *Provider) problem.Code {
	_, err := p.Verify(ctx, "x", "n")
	failed, _ := errors.AsType[*problem.Error](err)
	return failed.Code
}

func TestConcurrentSignInsShareADiscovery(t *testing.T) {
	d, p := newDiscovery(t, 300*time.Millisecond)
	var signIns sync.WaitGroup
	for range 20 {
		signIns.Go(func() {
			if code := codeOf(t.Context(), p); code != problem.Unauthenticated {
				t.Errorf("got %s", code)
			}
		})
	}
	signIns.Wait()
	if n := d.requests.Load(); n != 1 {
		t.Errorf("%d discoveries for sign-ins at the same time, want 1", n)
	}
}

func TestDiscoveryEndsForCallerWithItsContext(t *testing.T) {
	d, p := newDiscovery(t, time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if code := codeOf(ctx, p); code != problem.Unavailable || time.Since(start) > 500*time.Millisecond {
		t.Errorf("got %s after %s", code, time.Since(start))
	}
	if code := codeOf(t.Context(), p); code != problem.Unauthenticated || d.requests.Load() != 1 {
		t.Errorf("the next caller, which waits: %s after %d discoveries, want the first discovery to continue", code, d.requests.Load())
	}
}

func TestFailedDiscoveryIsRetriedLater(t *testing.T) {
	d, p := newDiscovery(t, 0)
	d.away.Store(true)
	for range 10 {
		_, err := p.Verify(t.Context(), "x", "n")
		failed, _ := errors.AsType[*problem.Error](err)
		if failed.Code != problem.Unavailable || failed.RetryAfter != RetryAfter || !strings.Contains(err.Error(), "500") {
			t.Errorf("got %v", err)
		}
	}
	if n := d.requests.Load(); n != 1 {
		t.Errorf("%d discoveries within a moment, want 1", n)
	}
	d.away.Store(false)
	time.Sleep(RetryAfter)
	if code := codeOf(t.Context(), p); code != problem.Unauthenticated || d.requests.Load() != 2 {
		t.Errorf("when the provider is back: %s after %d discoveries", code, d.requests.Load())
	}
}
