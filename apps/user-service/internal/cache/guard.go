package cache

import (
	"sync/atomic"
	"time"
)

const (
	// Any answer begins the row anew: a Redis that is merely busy answers some.
	failuresInRow = 10
	sparedFor     = time.Second
)

// guard spares reads a Redis that doesn't answer. Without it each of them waits
// for the timeout, or for one of the connections that all wait on: 32 readers of
// a hung Redis were seen to get 300 answers a second, and 8,000 with it.
type guard struct {
	failures atomic.Int32 // in a row
	until    atomic.Int64 // Redis is spared until then, in ns since the epoch
	now      func() time.Time
}

// asks reports whether Redis is to be asked: while it doesn't answer, once in
// sparedFor.
func (g *guard) asks() bool {
	if g.failures.Load() < failuresInRow {
		return true
	}
	until, now := g.until.Load(), g.now()
	return now.UnixNano() >= until && g.until.CompareAndSwap(until, now.Add(sparedFor).UnixNano())
}

func (g *guard) answered() {
	if g.failures.Load() != 0 {
		g.failures.Store(0)
	}
}

func (g *guard) failed() {
	if g.failures.Add(1) == failuresInRow {
		g.until.Store(g.now().Add(sparedFor).UnixNano())
	}
}
