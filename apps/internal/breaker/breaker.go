// Package breaker stops sending requests to a service that doesn't respond. It decides in memory, within
// nanoseconds. Replicas share their state through Redis in the background, so that no request waits for Redis
// or fails because of it.
package breaker

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/background"
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

	mu       sync.Mutex
	openTil  atomic.Int64 // Unix time in ns; 0 means closed; written under mu
	probeTil time.Time    // while open: a request may be trying until then
	ready    time.Time    // time of the last successful health check while open
	changes
}

// changes are the results that this replica has not shared yet.
type changes struct {
	pending   int64     // failures
	recovered bool      // there was a success
	last      time.Time // time of the last failure, whether the others know it or not
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

// shareEvery is how long a replica may not know the failures that another has counted.
const shareEvery = 500 * time.Millisecond

func (b *Breaker) failuresKey() string    { return "circuit_breaker:" + b.service + ":failures" }
func (b *Breaker) lastFailureKey() string { return "circuit_breaker:" + b.service + ":last_failure" }

// Share shares the failures of the breakers with the other replicas until ctx is done. Without Redis each
// replica decides by itself.
//
// The keys are circuit_breaker:{service}:failures, the number of consecutive failures, and :last_failure, the
// time of the last one (Unix time in seconds). Both expire after openFor.
func Share(ctx context.Context, redis *goredis.Client, log *slog.Logger, breakers ...*Breaker) {
	background.Every(ctx, shareEvery, func() {
		for _, b := range breakers {
			if err := b.exchange(ctx, redis); err != nil {
				log.DebugContext(ctx, "the state of a circuit breaker is not shared", "service", b.service, "cause", err)
				break // Redis is unavailable: one timeout is enough
			}
		}
	})
}

// exchange reports the changes of this replica and reads the shared state in one round trip.
func (b *Breaker) exchange(ctx context.Context, redis *goredis.Client) error {
	changes := b.take()
	var failures, last *goredis.StringCmd
	_, err := redis.Pipelined(ctx, func(p goredis.Pipeliner) error {
		switch {
		case changes.recovered:
			p.Del(ctx, b.failuresKey(), b.lastFailureKey())
		case changes.pending > 0:
			p.IncrBy(ctx, b.failuresKey(), changes.pending)
			p.PExpire(ctx, b.failuresKey(), openFor)
			p.Set(ctx, b.lastFailureKey(), strconv.FormatInt(changes.last.Unix(), 10), openFor)
		}
		failures = p.Get(ctx, b.failuresKey())
		last = p.Get(ctx, b.lastFailureKey())
		return nil
	})
	if err != nil && !errors.Is(err, goredis.Nil) {
		b.requeue(changes)
		return err
	}
	// Missing or malformed keys read as 0: no failures.
	count, _ := failures.Int64()
	at, _ := last.Int64()
	b.apply(count, time.Unix(at, 0))
	return nil
}

// take returns the unreported changes and marks them as reported.
func (b *Breaker) take() changes {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.changes
	b.pending, b.recovered = 0, false
	return c
}

// requeue restores changes that could not be reported, unless a newer change replaces them.
func (b *Breaker) requeue(c changes) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.recovered {
		return
	}
	b.recovered = c.recovered && b.pending == 0
	if !c.recovered {
		b.pending += c.pending
	}
}

// apply applies the shared state of all replicas.
func (b *Breaker) apply(failures int64, last time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending > 0 || b.recovered {
		return // this replica has newer changes
	}
	til := last.Add(openFor)
	switch {
	case failures == 0 && b.openTil.Load() == 0:
		b.failures.Store(0)
	case failures == 0 && b.now().Before(time.Unix(0, b.openTil.Load())):
		b.close() // another replica has received a response
	case failures >= threshold && b.now().Before(til) && last.After(b.ready):
		b.failures.Store(failures)
		if b.openTil.Load() < til.UnixNano()-int64(time.Second) { // the key has whole seconds
			b.open(til)
		}
	case failures > 0 && b.openTil.Load() == 0:
		b.failures.Store(failures) // the next failures here continue the count
	}
}
