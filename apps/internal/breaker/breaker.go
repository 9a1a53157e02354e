// Package breaker stops sending requests to a service that doesn't respond. It decides in memory, within
// nanoseconds. Replicas share their state through Redis in the background, so that no request waits for Redis
// or fails because of it.
package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// threshold is the number of consecutive failures, on all replicas together, that opens a breaker.
	threshold = 5
	// openFor is how long a breaker stays open before it lets one request try.
	openFor = 60 * time.Second
	// probeTime is how long that request may take before another one may try: more than the deadline of a
	// request.
	probeTime = 10 * time.Second
)

// State is the state of a breaker.
type State int32

// The states, with their values in the metric.
const (
	Closed   State = 0 // allows requests
	HalfOpen State = 1 // allows one request to try
	Open     State = 2 // refuses requests
)

// Breaker guards one service.
type Breaker struct {
	service string
	now     func() time.Time

	// failures is the number of consecutive failures. It is 0 for a healthy service, so that a success costs
	// one load.
	failures atomic.Int64

	mu        sync.Mutex
	openTil   atomic.Int64 // Unix time in ns; 0 means closed; written under mu
	probeTil  time.Time    // while open: a request may be trying until then
	pending   int64        // failures that the other replicas don't know yet
	recovered bool         // a success that the other replicas don't know yet
	last      time.Time    // time of the last failure
	ready     time.Time    // time of the last successful health check while open
}

// New returns a closed breaker for a service.
func New(service string) *Breaker { return &Breaker{service: service, now: time.Now} }

// Allow reports whether a request may be sent, and if not, when to try again. After an allowed request, call
// Succeeded or Failed.
func (b *Breaker) Allow() (ok bool, retryAfter time.Duration) {
	if b.openTil.Load() == 0 {
		return true, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	til := b.openTil.Load()
	if til == 0 {
		return true, 0
	}
	if wait := time.Unix(0, til).Sub(b.now()); wait > 0 {
		return false, wait
	}
	now := b.now()
	if wait := b.probeTil.Sub(now); wait > 0 {
		return false, min(wait, time.Second)
	}
	b.probeTil = now.Add(probeTime)
	return true, 0
}

// Succeeded reports that the service has responded.
func (b *Breaker) Succeeded() {
	if b.failures.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.openTil.Load() != 0 && b.probeTil.IsZero() {
		return // the request was sent before the breaker opened
	}
	b.close()
	b.pending, b.recovered = 0, true
}

// Failed reports that the service has sent no valid response in time.
func (b *Breaker) Failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.openTil.Load() == 0 && now.Sub(b.last) > openFor {
		b.failures.Store(0) // the last failure is too old to be consecutive
	}
	b.pending++
	b.recovered, b.last = false, now
	if b.failures.Add(1) >= threshold {
		b.open(now.Add(openFor))
	}
}

// Ready reports that the service passes a health check: an open breaker lets one request try before openFor
// is over.
func (b *Breaker) Ready() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.State() == Open {
		b.ready = b.now()
		b.open(b.ready)
	}
}

// Failing reports whether the last request has failed.
func (b *Breaker) Failing() bool { return b.failures.Load() > 0 }

// State returns the current state.
func (b *Breaker) State() State {
	switch til := b.openTil.Load(); {
	case til == 0:
		return Closed
	case b.now().UnixNano() < til:
		return Open
	default:
		return HalfOpen
	}
}

func (b *Breaker) open(til time.Time) {
	b.probeTil = time.Time{}
	b.openTil.Store(til.UnixNano())
}

func (b *Breaker) close() {
	b.probeTil = time.Time{}
	b.openTil.Store(0)
	b.failures.Store(0)
}
