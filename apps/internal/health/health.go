// Package health answers whether a service lives, whether it can be sent
// requests, and what it is.
package health

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
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
	// introduction is how long a new process may take to reach each part for the first time. A cluster's network lets a new pod
	// through after seconds, and those who have to reach it no sooner: until then it would fail what it is sent. A part that
	// is down for everybody keeps nobody out for longer.
	introduction = 15 * time.Second
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
	started  time.Time

	mu     sync.Mutex      // held while checks run: others wait for the same results
	met    map[string]bool // the parts that were well once
	last   map[string]string
	lastAt time.Time
}

// status is what a service says of itself.
type status string

const (
	ok       status = "ok"
	degraded status = "degraded" // serves, without a part that it can do without
	unready  status = "unready"
	starting status = "starting" // has not reached each part yet
	draining status = "draining" // serves, and is about to stop
)

// What is said of one part.
const (
	well   = "ok"
	unwell = "unwell"
)

type report struct {
	Status status            `json:"status"`
	Checks map[string]string `json:"checks"`
}

// New returns the health of service with these checks.
func New(service config.Service, log *slog.Logger, checks ...Check) *Health {
	return &Health{service: service, log: log, checks: checks, started: time.Now(), met: map[string]bool{}}
}

// Drain says that the service is about to stop. It can still be sent requests:
// Kubernetes takes the pod that it has told to stop out of its Service, and
// leads to it again while no other is ready, but only if it says that it can serve.
func (h *Health) Drain() { h.draining.Store(true) }

// Livez answers 200 as long as the process can answer at all. It depends on
// nothing outside: restarting a service doesn't mend its database.
func (h *Health) Livez(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, map[string]status{"status": ok})
}

// Readyz answers 200 where requests may be sent here, else 503, and names the
// state of each part. With ?exclude=<part>, as Kubernetes' own servers have it,
// that part is not required.
func (h *Health) Readyz(w http.ResponseWriter, r *http.Request) {
	current := h.report(r.Context(), r.URL.Query()["exclude"]...)
	if current.Status.code() == http.StatusOK && h.starting() {
		current.Status = starting
	}
	write(w, current.Status.code(), current)
}

// Health answers what this is and how it is: 503 also where it is about to stop,
// for whoever asks from outside can go elsewhere. It is public: parts are not named.
func (h *Health) Health(w http.ResponseWriter, r *http.Request) {
	current := h.report(r.Context())
	code := current.Status.code()
	if current.Status == draining {
		code = http.StatusServiceUnavailable
	}
	write(w, code, map[string]string{
		"service": h.service.Name, "version": h.service.Version, "colour": h.service.Colour,
		"status": string(current.Status),
	})
}

func (h *Health) starting() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.met) < len(h.checks) && time.Since(h.started) < introduction
}

func (s status) code() int {
	switch s {
	case ok, degraded, draining:
		return http.StatusOK
	default:
		return http.StatusServiceUnavailable
	}
}

func (h *Health) report(ctx context.Context, excluded ...string) report {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.lastAt) > reportLife {
		// The results outlive the request that asked for them.
		h.last = h.check(context.WithoutCancel(ctx))
		for name, state := range h.last {
			if state == well {
				h.met[name] = true
			}
		}
		h.lastAt = time.Now()
	}
	current := report{Status: ok, Checks: h.last}
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

// check returns how each part is. The map isn't changed afterwards.
func (h *Health) check(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	faults := make([]error, len(h.checks))
	var running sync.WaitGroup
	for i, check := range h.checks {
		running.Go(func() { faults[i] = check.Probe(ctx) })
	}
	running.Wait()

	results := make(map[string]string, len(h.checks))
	for i, check := range h.checks {
		results[check.Name] = well
		if faults[i] != nil {
			results[check.Name] = unwell
			h.log.WarnContext(ctx, "a dependency is unwell", "check", check.Name, "required", check.Required, "cause", faults[i])
		}
	}
	return results
}

func write(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value) // a prober that left is no fault of ours
}
