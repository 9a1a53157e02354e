// Package limit bounds how much each client may ask for. It decides in memory;
// replicas add up what they have counted in Redis, a few times a second and
// beside the requests. While Redis is away each replica counts for itself, and
// tells the rest when it is back.
package limit

import (
	"fmt"
	"hash/maphash"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	shards = 16
	// maxClients bounds the memory of a limit, at about 150 bytes a client.
	// Beyond it some are forgotten: an attack from that many addresses is not
	// for a limit per client to stop.
	maxClients = 64 << 10
)

// Limit lets each client do so much in any window of time (a sliding window,
// estimated from the count of this window and a share of that of the one before).
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

// count is what one client has done.
type count struct {
	window   int64 // which one: Unix time divided by its length
	current  int64 // on all replicas, as far as it is known here
	previous int64 // the same, in the window before
	pending  int64 // done here in this window and not yet told
	asked    bool  // whether previous was asked for
}

// New returns a limit of max per window that registers how often it refuses; the
// name sets its series and its keys in Redis apart.
func New(name string, max int, window time.Duration, registry prometheus.Registerer) *Limit {
	l := newLimit(name, max, window, time.Now)
	registry.MustRegister(l.refused)
	return l
}

func newLimit(name string, max int, window time.Duration, now func() time.Time) *Limit {
	l := &Limit{name: name, max: float64(max), window: window, now: now, seed: maphash.MakeSeed(), refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gateway_rate_limited_total", Help: "Requests refused by a limit.", ConstLabels: prometheus.Labels{"limit": name},
	})}
	for i := range l.shards {
		l.shards[i].clients = make(map[string]*count)
	}
	return l
}

// Take counts one more for client, unless that is too much; then it says when
// to come again.
func (l *Limit) Take(client string) (ok bool, retryAfter time.Duration) {
	now := l.now()
	s := l.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.client(client)
	c.roll(l.windowAt(now))
	gone := now.Sub(time.Unix(0, c.window*int64(l.window))) // of this window
	share := 1 - float64(gone)/float64(l.window)
	used := float64(c.current+c.pending) + float64(c.previous)*share
	if used+1 > l.max {
		l.refused.Inc()
		return false, l.wait(c, gone, used+1-l.max)
	}
	c.pending++
	return true, 0
}

// Header returns the fields that say which limit a client has reached, and when it
// may come again. The RateLimit-Limit, -Remaining and -Reset of the first versions of
// draft-ietf-httpapi-ratelimit-headers became these two, which name one of several
// limits. Answers within the limit go without: two more fields cost several allocations.
func (l *Limit) Header(wait time.Duration) http.Header {
	return http.Header{
		"Ratelimit":        {fmt.Sprintf("%q;r=0;t=%.0f", l.name, math.Ceil(wait.Seconds()))},
		"Ratelimit-Policy": {fmt.Sprintf("%q;q=%.0f;w=%.0f", l.name, l.max, l.window.Seconds())},
	}
}

// GiveBack takes back one Take.
func (l *Limit) GiveBack(client string) {
	s := l.shard(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[client]; ok && c.window == l.windowAt(l.now()) && c.current+c.pending > 0 {
		c.pending--
	}
}

// wait is how long it takes until the estimate has fallen by excess: while this
// window lasts, as the one before fades, else in the next.
func (l *Limit) wait(c *count, gone time.Duration, excess float64) time.Duration {
	if c.previous > 0 {
		if fade := time.Duration(excess / float64(c.previous) * float64(l.window)); fade < l.window-gone {
			return fade + time.Millisecond // the estimate is no whole number
		}
	}
	rest := l.window - gone
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

// roll goes on to window. What could not be told of the one before is kept as
// part of what is known of it.
func (c *count) roll(window int64) {
	switch c.window {
	case window:
		return
	case window - 1:
		c.previous, c.asked = c.current+c.pending, true
	default:
		c.previous, c.asked = 0, false
	}
	c.window, c.current, c.pending = window, 0, 0
}
