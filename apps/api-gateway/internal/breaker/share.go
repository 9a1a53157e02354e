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

// shareEvery is how long a replica may not know what another has seen.
const shareEvery = 500 * time.Millisecond

func (b *Breaker) failuresKey() string    { return "circuit_breaker:" + b.service + ":failures" }
func (b *Breaker) lastFailureKey() string { return "circuit_breaker:" + b.service + ":last_failure" }

// Share tells the other replicas what the breakers have seen, and hears what
// they have, until ctx is done. Without Redis each replica decides by itself.
//
// The keys are circuit_breaker:{service}:failures, how many failures in a row
// there were, and :last_failure, when the last was (Unix time, seconds). Both
// end with the time for which the breaker is open.
func Share(ctx context.Context, redis *goredis.Client, log *slog.Logger, breakers ...*Breaker) {
	background.Every(ctx, shareEvery, func() {
		for _, b := range breakers {
			if err := b.exchange(ctx, redis); err != nil {
				log.DebugContext(ctx, "the state of a circuit breaker is not shared", "service", b.service, "cause", err)
				break // Redis is away: one timeout is enough
			}
		}
	})
}

// exchange tells and hears in one round trip.
func (b *Breaker) exchange(ctx context.Context, redis *goredis.Client) error {
	told := b.toTell()
	var failures, last *goredis.StringCmd
	_, err := redis.Pipelined(ctx, func(p goredis.Pipeliner) error {
		switch {
		case told.mended:
			p.Del(ctx, b.failuresKey(), b.lastFailureKey())
		case told.pending > 0:
			p.IncrBy(ctx, b.failuresKey(), told.pending)
			p.PExpire(ctx, b.failuresKey(), openFor)
			p.Set(ctx, b.lastFailureKey(), strconv.FormatInt(told.last.Unix(), 10), openFor)
		}
		failures = p.Get(ctx, b.failuresKey())
		last = p.Get(ctx, b.lastFailureKey())
		return nil
	})
	if err != nil && !errors.Is(err, goredis.Nil) {
		b.tellAgain(told)
		return err
	}
	// Keys that are missing or hold nonsense read as 0: no failures.
	count, _ := failures.Int64()
	at, _ := last.Int64()
	b.hear(count, time.Unix(at, 0))
	return nil
}

// news is what one replica tells the others.
type news struct {
	pending int64
	mended  bool
	last    time.Time
}

func (b *Breaker) toTell() news {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := news{b.pending, b.mended, b.last}
	b.pending, b.mended = 0, false
	return n
}

// tellAgain takes back what could not be told, unless it's no longer so.
func (b *Breaker) tellAgain(n news) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mended {
		return
	}
	b.mended = n.mended && b.pending == 0
	if !n.mended {
		b.pending += n.pending
	}
}

// hear takes over what all replicas together have seen.
func (b *Breaker) hear(failures int64, last time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending > 0 || b.mended {
		return // seen meanwhile, and newer
	}
	til := last.Add(openFor)
	switch {
	case failures == 0 && b.openTil.Load() == 0:
		b.failures.Store(0)
	case failures == 0 && b.now().Before(time.Unix(0, b.openTil.Load())):
		b.close() // another replica has had an answer
	case failures >= threshold && b.now().Before(til) && last.After(b.ready):
		b.failures.Store(failures)
		if b.openTil.Load() < til.UnixNano()-int64(time.Second) { // the key holds whole seconds
			b.open(til)
		}
	case failures > 0 && b.openTil.Load() == 0:
		b.failures.Store(failures) // so that the next ones here count from there
	}
}
