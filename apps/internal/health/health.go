// Package health reports whether a service is alive, whether it can serve requests, and which release it is.
package health

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/httpjson"
)

const (
	// checkTimeout is shorter than the kubelet's default probe timeout of 1 s, so that the response that
	// names the failed check still arrives.
	checkTimeout = 500 * time.Millisecond
	// reportLife limits how often checks run.
	reportLife = time.Second
	// startupTime is how long a new process may take to pass each check for the first time. A cluster's
	// network connects a new pod only after seconds, and a replica that is ready earlier would fail its
	// requests. After that time an unavailable dependency keeps no replica from becoming ready.
	startupTime = 15 * time.Second
)

// Check checks one dependency of the service.
type Check struct {
	Name     string
	Required bool // a failure means unready; otherwise only degraded
	Probe    func(context.Context) error
}

// Health reports the state of the process.
type Health struct {
	service  config.Service
	log      *slog.Logger
	checks   []Check
	draining atomic.Bool
	started  time.Time

	mu     sync.Mutex      // held while checks run: others wait for the same results
	passed map[string]bool // the checks that have passed at least once
	last   map[string]string
	lastAt time.Time
}

// status is the state of the service.
type status string

const (
	ok       status = "ok"
	degraded status = "degraded" // serves, without a dependency that it can do without
	unready  status = "unready"
	starting status = "starting" // has not passed each check yet
	draining status = "draining" // serves, and is about to stop
)

// The results of a check.
const well, unwell = "ok", "unwell"

type report struct {
	Status   status            `json:"status"`
	Checks   map[string]string `json:"checks"`
	starting bool              // a new process that has not passed each check yet
}

// New returns the Health of service with these checks.
func New(service config.Service, log *slog.Logger, checks ...Check) *Health {
	return &Health{service: service, log: log, checks: checks, started: time.Now(), passed: map[string]bool{}}
}

// Drain marks the service as about to stop. It can still serve requests: Kubernetes removes a terminating pod
// from its Service, but routes to it while no other pod is ready, if its readiness probe passes.
func (h *Health) Drain() { h.draining.Store(true) }

// Livez responds with 200 while the process can respond at all. It depends on nothing outside the process: a
// restart doesn't repair its database.
func (h *Health) Livez(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, map[string]status{"status": ok})
}

// Readyz responds with 200 if the service can serve requests, else with 503, and names the result of each
// check. With ?exclude=<check>, as in Kubernetes' own servers, that check isn't required.
func (h *Health) Readyz(w http.ResponseWriter, r *http.Request) {
	current := h.report(r.Context(), r.URL.Query()["exclude"]...)
	if current.Status.code() == http.StatusOK && current.starting {
		current.Status = starting
	}
	write(w, current.Status.code(), current)
}

// Health responds with the service, version, colour and status. It is 503 also if the service is about to
// stop, because clients outside the platform can go elsewhere. It is public, so it doesn't name the checks.
// Prometheus, which requests it as a client does, gets a metric.
func (h *Health) Health(w http.ResponseWriter, r *http.Request) {
	current := h.report(r.Context())
	code := current.Status.code()
	if current.Status == draining {
		code = http.StatusServiceUnavailable
	}
	const exposition = "text/plain;version=0.0.4"
	if strings.Contains(r.Header.Get("Accept"), exposition) {
		w.Header().Set("Content-Type", exposition)
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, "service_health{status=%q} 1\n", current.Status)
		return
	}
	write(w, code, map[string]string{
		"service": h.service.Name, "version": h.service.Version, "colour": h.service.Colour,
		"status": string(current.Status),
	})
}

func (s status) code() int {
	if s == unready || s == starting {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

func (h *Health) report(ctx context.Context, excluded ...string) report {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.lastAt) > reportLife {
		// The results outlive this request.
		h.last, h.lastAt = h.check(context.WithoutCancel(ctx)), time.Now()
	}
	current := report{ok, h.last, len(h.passed) < len(h.checks) && time.Since(h.started) < startupTime}
	for _, check := range h.checks {
		switch {
		case h.last[check.Name] == well:
		case check.Required && !slices.Contains(excluded, check.Name):
			current.Status = unready
		case current.Status == ok:
			current.Status = degraded
		}
	}
	if h.draining.Load() && current.Status != unready {
		current.Status = draining
	}
	return current
}

// check runs all checks and returns the result of each. The map is not changed afterwards.
func (h *Health) check(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	errs := make([]error, len(h.checks))
	var running sync.WaitGroup
	for i, check := range h.checks {
		running.Go(func() { errs[i] = check.Probe(ctx) })
	}
	running.Wait()

	results := make(map[string]string, len(h.checks))
	for i, check := range h.checks {
		if errs[i] == nil {
			results[check.Name], h.passed[check.Name] = well, true
		} else {
			results[check.Name] = unwell
			h.log.WarnContext(ctx, "a health check has failed", "check", check.Name, "required", check.Required, "cause", errs[i])
		}
	}
	return results
}

func write(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Cache-Control", "no-store")
	_ = httpjson.Write(w, code, value) // fails only for values without a JSON form
}
