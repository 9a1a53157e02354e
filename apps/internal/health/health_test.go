package health

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"platform.example/apps/internal/config"
)

func TestReadiness(t *testing.T) {
	well := func(context.Context) error { return nil }
	unwell := func(context.Context) error { return errors.New("no route to host 10.0.0.7") }
	hung := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, c := range []struct {
		name  string
		check Check
		path  string
		drain bool
		code  int
		body  string
	}{
		{"all checks pass", Check{"db", true, well}, "/readyz", false, 200, `{"status":"ok","checks":{"db":"ok"}}`},
		{"a required check fails", Check{"db", true, unwell}, "/readyz", false, 503, `{"status":"unready","checks":{"db":"unwell"}}`},
		{"a required check hangs", Check{"db", true, hung}, "/readyz", false, 503, `{"status":"unready","checks":{"db":"unwell"}}`},
		{"an excluded check fails", Check{"db", true, unwell}, "/readyz?exclude=a&exclude=db", false, 200, `{"status":"degraded","checks":{"db":"unwell"}}`},
		{"another check fails", Check{"cache", false, unwell}, "/readyz", false, 200, `{"status":"degraded","checks":{"cache":"unwell"}}`},
		{"about to stop", Check{"db", true, well}, "/readyz", true, 200, `{"status":"draining","checks":{"db":"ok"}}`},
		{"about to stop, and a required check fails", Check{"db", true, unwell}, "/readyz", true, 503, `{"status":"unready","checks":{"db":"unwell"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := New(config.Service{}, slog.New(slog.DiscardHandler), c.check)
			h.started = time.Now().Add(-startupTime)
			if c.drain {
				h.Drain()
			}
			w := httptest.NewRecorder()
			h.Readyz(w, httptest.NewRequest(http.MethodGet, c.path, nil))
			if w.Code != c.code || strings.TrimSpace(w.Body.String()) != c.body {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, c.code, c.body)
			}
			w = httptest.NewRecorder()
			h.Livez(w, nil)
			if w.Code != http.StatusOK {
				t.Errorf("/livez depends on the check: %d", w.Code)
			}
		})
	}
}

// Prometheus requests the public address as a client does, and needs a metric to accept the response.
func TestPrometheusGetsAMetric(t *testing.T) {
	for code, check := range map[int]error{200: nil, 503: errors.New("no route to host")} {
		h := New(config.Service{Name: "a-service"}, slog.New(slog.DiscardHandler), Check{"db", true, func(context.Context) error { return check }})
		request := httptest.NewRequest(http.MethodGet, "/health", nil)
		w := httptest.NewRecorder()
		h.Health(w, request)
		if w.Code != code || !strings.HasPrefix(w.Body.String(), "{") {
			t.Errorf("a client gets %d %s", w.Code, w.Body)
		}
		request.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
		w = httptest.NewRecorder()
		h.Health(w, request)
		want := map[int]string{200: "ok", 503: "unready"}[code]
		if w.Code != code || w.Body.String() != `service_health{status="`+want+`"} 1`+"\n" || w.Header().Get("Content-Type") != "text/plain;version=0.0.4" {
			t.Errorf("Prometheus gets %d %v %s", w.Code, w.Header(), w.Body)
		}
	}
}

func TestNewProcessIsReadyOnceAllChecksHavePassed(t *testing.T) {
	var cache, database error
	h := New(config.Service{}, slog.New(slog.DiscardHandler),
		Check{"cache", false, func(context.Context) error { return cache }}, Check{"db", true, func(context.Context) error { return database }})
	for _, step := range []struct {
		name            string
		cache, database error
		started         time.Duration // ago
		code            int
		status          status
	}{
		{"the network isn't connected yet", errors.New("refused"), errors.New("refused"), 0, 503, starting},
		{"one check has passed", nil, errors.New("refused"), time.Second, 503, starting},
		{"the other check has passed, too", errors.New("refused"), nil, 2 * time.Second, 200, degraded},
		{"both checks fail after the start", errors.New("gone"), errors.New("gone"), 3 * time.Second, 200, degraded},
	} {
		cache, database = step.cache, step.database
		h.started, h.lastAt = time.Now().Add(-step.started), time.Time{}
		w := httptest.NewRecorder()
		h.Readyz(w, httptest.NewRequest(http.MethodGet, "/readyz?exclude=db", nil))
		if w.Code != step.code || !strings.Contains(w.Body.String(), string(step.status)) {
			t.Errorf("%s: got %d %s, want %d %s", step.name, w.Code, w.Body, step.code, step.status)
		}
	}
	never := New(config.Service{}, slog.New(slog.DiscardHandler), Check{"cache", false, func(context.Context) error { return errors.New("down") }})
	for _, c := range []struct {
		started time.Duration
		code    int
	}{{startupTime - time.Second, 503}, {startupTime, 200}} {
		never.started = time.Now().Add(-c.started)
		w := httptest.NewRecorder()
		never.Readyz(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if w.Code != c.code {
			t.Errorf("after %s without a passed check: got %d, want %d", c.started, w.Code, c.code)
		}
	}
}
