// Package limit limits the requests of each client. It decides in memory; replicas add up their counts in
// Redis in the background, a few times a second. While Redis is unavailable each replica counts separately,
// and reports its counts afterwards.
package limit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/background"
)

const (
	shards = 16
	// maxClients limits the memory of a limit, at about 150 bytes a client. Beyond it some clients are
	// forgotten: a limit per client can't stop an attack from that many addresses.
	maxClients = 64 << 10
)

// Limit allows each client max requests in any window of time. It is a sliding window, estimated from the
// count of the current window and a share of the previous one.
type Limit struct {
	name   string
	max    float64
	window time.Duration
	now    func() time.Time

	refused prometheus.Counter

	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	clients map[string]*count
}

// count is the count of one client.
type count struct {
	window      int64 // the window: Unix time divided by its length
	current     int64 // requests in the window on all replicas, as far as known
	previous    int64 // requests in the previous window
	pending     int64 // requests here in this window that are not shared yet
	hasPrevious bool  // whether previous was read from Redis
}

// New returns a limit of max requests per window. The name distinguishes its metrics and its keys in Redis.
func New(name string, max int, window time.Duration, registry prometheus.Registerer) *Limit {
	l := &Limit{name: name, max: float64(max), window: window, now: time.Now, seed: maphash.MakeSeed()}
	l.refused = promauto.With(registry).NewCounter(prometheus.CounterOpts{
		Name: "gateway_rate_limited_total", Help: "Requests refused by a limit.", ConstLabels: prometheus.Labels{"limit": name},
	})
	for i := range l.shards {
		l.shards[i].clients = make(map[string]*count)
	}
	return l
}

// Take counts a request of a client. If the limit is reached, it counts nothing and returns false and when to
// try again.
func (l *Limit) Take(client string) (ok bool, retryAfter time.Duration) {
	now := l.now()
	s := l.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.client(client)
	c.roll(l.windowAt(now))
	elapsed := now.Sub(time.Unix(0, c.window*int64(l.window))) // in this window
	share := 1 - float64(elapsed)/float64(l.window)
	used := float64(c.current+c.pending) + float64(c.previous)*share
	if used+1 > l.max {
		l.refused.Inc()
		return false, l.wait(c, elapsed, used+1-l.max)
	}
	c.pending++
	return true, 0
}

// Header returns the headers for a client that has reached the limit and may try again after wait. The
// RateLimit-Limit, -Remaining and -Reset of early versions of draft-ietf-httpapi-ratelimit-headers became
// these two, which can name one of several limits. Responses within the limit don't have them: two more
// headers cost several allocations.
func (l *Limit) Header(wait time.Duration) http.Header {
	return http.Header{
		"Ratelimit":        {fmt.Sprintf("%q;r=0;t=%.0f", l.name, math.Ceil(wait.Seconds()))},
		"Ratelimit-Policy": {fmt.Sprintf("%q;q=%.0f;w=%.0f", l.name, l.max, l.window.Seconds())},
	}
}

// Undo undoes one Take.
func (l *Limit) Undo(client string) {
	s := l.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[client]; ok && c.window == l.windowAt(l.now()) && c.current+c.pending > 0 {
		c.pending--
	}
}

// wait returns the time until the estimate has fallen by excess: within this window while the share of the
// previous one shrinks, or in the next window.
func (l *Limit) wait(c *count, elapsed time.Duration, excess float64) time.Duration {
	if c.previous > 0 {
		if fade := time.Duration(excess / float64(c.previous) * float64(l.window)); fade < l.window-elapsed {
			return fade + time.Millisecond // the estimate isn't a whole number
		}
	}
	rest := l.window - elapsed
	used := float64(c.current + c.pending)
	if over := used + 1 - l.max; over > 0 && used > 0 {
		rest += time.Duration(over / used * float64(l.window))
	}
	return rest + time.Millisecond
}

func (l *Limit) windowAt(t time.Time) int64 { return t.UnixNano() / int64(l.window) }

func (l *Limit) shard(client string) *shard {
	return &l.shards[maphash.String(l.seed, client)%shards]
}

func (s *shard) client(name string) *count {
	c, ok := s.clients[name]
	if ok {
		return c
	}
	if len(s.clients) >= maxClients/shards {
		for other := range s.clients {
			delete(s.clients, other)
			break
		}
	}
	c = &count{}
	s.clients[name] = c
	return c
}

// roll moves the count to window. Requests of the previous window that aren't shared yet count as part of it.
func (c *count) roll(window int64) {
	switch c.window {
	case window:
		return
	case window - 1:
		c.previous, c.hasPrevious = c.current+c.pending, true
	default:
		c.previous, c.hasPrevious = 0, false
	}
	c.window, c.current, c.pending = window, 0, 0
}

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
	for tallies := range slices.Chunk(l.collect(), batch) {
		if err := l.exchange(ctx, redis, tallies); err != nil {
			return err
		}
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
	if !ok || c.window != t.window || t.current.Err() != nil {
		return // the next window has begun, or Redis hasn't counted
	}
	c.current = t.current.Val()
	c.pending -= t.add
	if t.previous != nil && (t.previous.Err() == nil || errors.Is(t.previous.Err(), goredis.Nil)) {
		c.previous, _ = t.previous.Int64() // 0 without a key
		c.hasPrevious = true
	}
}

func (l *Limit) key(client string, window int64) string {
	return "rate_limit:" + l.name + ":" + client + ":" + strconv.FormatInt(window, 10)
}
