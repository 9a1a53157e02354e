package breaker

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/background"
)

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

// changes are the changes of one replica that the others don't know yet.
type changes struct {
	pending   int64
	recovered bool
	last      time.Time
}

// take returns the unreported changes and marks them as reported.
func (b *Breaker) take() changes {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := changes{b.pending, b.recovered, b.last}
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
