package limit

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/background"
)

const (
	// shareEvery is how long a replica may not know the counts of the others.
	shareEvery = 200 * time.Millisecond
	// batch limits one round trip.
	batch = 500
)

// Share adds up the counts of all replicas until ctx is done.
//
// The keys are rate_limit:{limit}:{client}:{window}. They expire when they no longer matter.
func Share(ctx context.Context, redis *goredis.Client, log *slog.Logger, limits ...*Limit) {
	background.Every(ctx, shareEvery, func() {
		for _, l := range limits {
			if err := l.share(ctx, redis); err != nil {
				log.DebugContext(ctx, "a rate limit is not shared", "limit", l.name, "cause", err)
				break // Redis is unavailable: one timeout is enough
			}
		}
	})
}

// tally is the exchange of one client's count with Redis.
type tally struct {
	client       string
	window, add  int64
	readPrevious bool
	current      *goredis.IntCmd
	previous     *goredis.StringCmd
}

func (l *Limit) share(ctx context.Context, redis *goredis.Client) error {
	tallies := l.collect()
	for len(tallies) > 0 {
		n := min(batch, len(tallies))
		if err := l.exchange(ctx, redis, tallies[:n]); err != nil {
			return err
		}
		tallies = tallies[n:]
	}
	return nil
}

// collect returns the counts to share, and forgets inactive clients.
func (l *Limit) collect() []*tally {
	var tallies []*tally
	window := l.windowAt(l.now())
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for name, c := range s.clients {
			if c.window < window-1 {
				delete(s.clients, name)
			} else if c.window == window && c.pending != 0 {
				tallies = append(tallies, &tally{client: name, window: window, add: c.pending, readPrevious: !c.hasPrevious})
			}
		}
		s.mu.Unlock()
	}
	return tallies
}

func (l *Limit) exchange(ctx context.Context, redis *goredis.Client, tallies []*tally) error {
	_, err := redis.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for _, t := range tallies {
			key := l.key(t.client, t.window)
			t.current = p.IncrBy(ctx, key, t.add)
			p.PExpire(ctx, key, 2*l.window)
			if t.readPrevious {
				t.previous = p.Get(ctx, l.key(t.client, t.window-1))
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, goredis.Nil) {
		return err
	}
	for _, t := range tallies {
		l.apply(t)
	}
	return nil
}

func (l *Limit) apply(t *tally) {
	s := l.shard(t.client)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.clients[t.client]
	if !ok || c.window != t.window {
		return // the next window has begun
	}
	c.current = t.current.Val()
	c.pending -= t.add
	if t.previous != nil {
		c.previous, _ = t.previous.Int64() // 0 without a key
		c.hasPrevious = true
	}
}

func (l *Limit) key(client string, window int64) string {
	return "rate_limit:" + l.name + ":" + client + ":" + strconv.FormatInt(window, 10)
}
