// Package limit limits the requests of each client. It decides in memory; replicas add up their counts in
// Redis in the background, a few times a second. While Redis is unavailable each replica counts separately,
// and reports its counts afterwards.
package limit

import (
	"fmt"
	"hash/maphash"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
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
