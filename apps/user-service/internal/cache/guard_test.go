package cache

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	now := time.Now()
	g := guard{now: func() time.Time { return now }}
	allows := func(want bool) {
		t.Helper()
		if g.allows() != want {
			t.Errorf("allows %t, want %t", !want, want)
		}
	}
	for range failuresInRow - 1 {
		g.failed()
	}
	allows(true)
	g.succeeded() // the count starts over
	for range failuresInRow - 1 {
		g.failed()
	}
	allows(true)
	g.failed()
	allows(false)

	for range 3 { // it still doesn't response: it allows one each time
		now = now.Add(pauseTime)
		var allowed atomic.Int32
		var asking sync.WaitGroup
		for range 50 {
			asking.Go(func() {
				if g.allows() {
					allowed.Add(1)
				}
			})
		}
		asking.Wait()
		if allowed.Load() != 1 {
			t.Errorf("%d of 50 reads are allowed, want 1", allowed.Load())
		}
		g.failed()
		allows(false)
	}

	now = now.Add(pauseTime)
	allows(true)
	g.succeeded()
	allows(true)
	allows(true)
}
