// Package breaker stops asking a service that doesn't answer. It decides in
// memory, within nanoseconds; what replicas tell each other goes through Redis
// beside the requests, so that one can neither wait for Redis nor fail by it.
package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// threshold is how many failures in a row, on all replicas together, open it.
	threshold = 5
	// openFor is how long it stays open before one request may try.
	openFor = 60 * time.Second
	// probeTime is how long that request may take before another may try: more
	// than the deadline of a request.
	probeTime = 10 * time.Second
)

// State is what a breaker does with a request.
type State int32

// The states, with the values that the metric shows.
const (
	Closed   State = 0 // lets it pass
	HalfOpen State = 1 // lets one pass, to see
	Open     State = 2 // refuses it
)

// Breaker guards one service.
type Breaker struct {
	service string
	now     func() time.Time

	// failures in a row since the last success: 0 on the path that matters, so
	// that a success costs one load.
	failures atomic.Int64

	mu       sync.Mutex
	openTil  atomic.Int64 // Unix nanoseconds; 0: closed. Written under mu
	probeTil time.Time    // until then somebody is trying, if open
	pending  int64        // failures that the other replicas aren't told of yet
	mended   bool         // a success that they aren't told of yet
	last     time.Time    // of the failures
	ready    time.Time    // when the service last passed a health check while open
}

// New returns a closed breaker for a service.
func New(service string) *Breaker { return newBreaker(service, time.Now) }

func newBreaker(service string, now func() time.Time) *Breaker {
	return &Breaker{service: service, now: now}
}

// Allow reports whether the service may be asked, and if not, when to come
// again. Who was allowed must say how it went, with Succeeded or Failed.
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

// Succeeded says that the service answered.
func (b *Breaker) Succeeded() {
	if b.failures.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.openTil.Load() != 0 && b.probeTil.IsZero() {
		return // was asked before it opened: says nothing of now
	}
	b.close()
	b.pending, b.mended = 0, true
}

// Failed says that the service gave no valid answer in time.
func (b *Breaker) Failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.openTil.Load() == 0 && now.Sub(b.last) > openFor {
		b.failures.Store(0) // a failure long ago is not in a row with this one
	}
	b.pending++
	b.mended, b.last = false, now
	if b.failures.Add(1) >= threshold {
		b.open(now.Add(openFor))
	}
}

// Ready says that the service passes a health check: an open breaker lets one
// request try before its time is over.
func (b *Breaker) Ready() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.State() == Open {
		b.ready = b.now()
		b.open(b.ready)
	}
}

// State is the state right now.
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
