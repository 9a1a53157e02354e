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
	// shareEvery is how long a replica may not know what others have counted.
	shareEvery = 200 * time.Millisecond
	// batch bounds one round trip.
	batch = 500
)

// Share adds up the counts of all replicas until ctx is done.
//
// The keys are rate_limit:{limit}:{client}:{window} and end when they no
// longer matter.
func Share(ctx context.Context, redis *goredis.Client, log *slog.Logger, limits ...*Limit) {
	background.Every(ctx, shareEvery, func() {
		for _, l := range limits {
			if err := l.share(ctx, redis); err != nil {
				log.DebugContext(ctx, "a rate limit is not shared", "limit", l.name, "cause", err)
				break // Redis is away: one timeout is enough
			}
		}
	})
}

// tally is what is told and asked of one client.
type tally struct {
	client      string
	window, add int64
	askPrevious bool
	current     *goredis.IntCmd
	previous    *goredis.StringCmd
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

// collect lists what is to be told, and forgets the clients that have gone.
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
				tallies = append(tallies, &tally{client: name, window: window, add: c.pending, askPrevious: !c.asked})
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
			if t.askPrevious {
				t.previous = p.Get(ctx, l.key(t.client, t.window-1))
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, goredis.Nil) {
		return err
	}
	for _, t := range tallies {
		l.learn(t)
	}
	return nil
}

func (l *Limit) learn(t *tally) {
	s := l.shard(t.client)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.clients[t.client]
	if !ok || c.window != t.window {
		return // gone on to the next window meanwhile
	}
	c.current = t.current.Val()
	c.pending -= t.add
	if t.previous != nil {
		c.previous, _ = t.previous.Int64() // none: 0
		c.asked = true
	}
}

func (l *Limit) key(client string, window int64) string {
	return "rate_limit:" + l.name + ":" + client + ":" + strconv.FormatInt(window, 10)
}
