package health

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
		{"all is well", Check{"db", true, well}, "/readyz", false, 200, `{"status":"ok","checks":{"db":"ok"}}`},
		{"a required part is unwell", Check{"db", true, unwell}, "/readyz", false, 503, `{"status":"unready","checks":{"db":"unwell"}}`},
		{"a required part hangs", Check{"db", true, hung}, "/readyz", false, 503, `{"status":"unready","checks":{"db":"unwell"}}`},
		{"an excluded part is unwell", Check{"db", true, unwell}, "/readyz?exclude=a&exclude=db", false, 200, `{"status":"degraded","checks":{"db":"unwell"}}`},
		{"another part is unwell", Check{"cache", false, unwell}, "/readyz", false, 200, `{"status":"degraded","checks":{"cache":"unwell"}}`},
		{"about to stop", Check{"db", true, well}, "/readyz", true, 503, `{"status":"draining","checks":{"db":"ok"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := New(config.Service{}, slog.New(slog.DiscardHandler), c.check)
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
				t.Errorf("/livez depends on it: %d", w.Code)
			}
		})
	}
}
