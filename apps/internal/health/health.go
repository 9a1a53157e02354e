// Package health answers whether a service lives, whether it can be sent
// requests, and what it is.
package health

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"platform.example/apps/internal/config"
)

const (
	// checkTimeout is shorter than the kubelet's default probe timeout of 1 s,
	// so that the answer that names the unwell part still arrives.
	checkTimeout = 500 * time.Millisecond
	// reportLife bounds how often checks run, however often they are asked for.
	reportLife = time.Second
)

// Check looks at one part that the service depends on.
type Check struct {
	Name     string
	Required bool // unwell means unready; else the service is merely degraded
	Probe    func(context.Context) error
}

// Health knows the state of the process.
type Health struct {
	service  config.Service
	log      *slog.Logger
	checks   []Check
	draining atomic.Bool

	mu     sync.Mutex // held while checks run: others wait for the same report
	last   report
	lastAt time.Time
}

// status is what a service says of itself.
type status string

const (
	ok       status = "ok"
	degraded status = "degraded" // serves, without a part that it can do without
	unready  status = "unready"
	draining status = "draining" // is about to stop
)

type report struct {
	Status status            `json:"status"`
	Checks map[string]string `json:"checks"`
}

// New returns the health of service with these checks.
func New(service config.Service, log *slog.Logger, checks ...Check) *Health {
	return &Health{service: service, log: log, checks: checks}
}

// Drain makes the service unready for good: it is about to stop.
func (h *Health) Drain() { h.draining.Store(true) }

// Livez answers 200 as long as the process can answer at all. It depends on
// nothing outside: restarting a service doesn't mend its database.
func (h *Health) Livez(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, map[string]status{"status": ok})
}

// Readyz answers 200 where requests may be sent here, else 503, and names the
// state of each part.
func (h *Health) Readyz(w http.ResponseWriter, r *http.Request) {
	current := h.report(r.Context())
	write(w, current.Status.code(), current)
}

// Health answers what this is and how it is. It is public: parts are not named.
func (h *Health) Health(w http.ResponseWriter, r *http.Request) {
	current := h.report(r.Context())
	write(w, current.Status.code(), map[string]string{
		"service": h.service.Name, "version": h.service.Version, "colour": h.service.Colour,
		"status": string(current.Status),
	})
}

func (s status) code() int {
	if s == ok || s == degraded {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

func (h *Health) report(ctx context.Context) report {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.lastAt) > reportLife {
		// The report outlives the request that asked for it.
		h.last = h.check(context.WithoutCancel(ctx))
		h.lastAt = time.Now()
	}
	current := h.last
	if h.draining.Load() {
		current.Status = draining
	}
	return current
}

func (h *Health) check(ctx context.Context) report {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	faults := make([]error, len(h.checks))
	var running sync.WaitGroup
	for i, check := range h.checks {
		running.Go(func() { faults[i] = check.Probe(ctx) })
	}
	running.Wait()

	result := report{Status: ok, Checks: make(map[string]string, len(h.checks))}
	for i, check := range h.checks {
		if faults[i] == nil {
			result.Checks[check.Name] = "ok"
			continue
		}
		result.Checks[check.Name] = "unwell"
		h.log.WarnContext(ctx, "a dependency is unwell", "check", check.Name, "required", check.Required, "cause", faults[i])
		if check.Required {
			result.Status = unready
		} else if result.Status == ok {
			result.Status = degraded
		}
	}
	return result
}

func write(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value) // a prober that left is no fault of ours
}
