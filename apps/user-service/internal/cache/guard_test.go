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
	asks := func(want bool) {
		t.Helper()
		if g.asks() != want {
			t.Errorf("asks %t, want %t", !want, want)
		}
	}
	for range failuresInRow - 1 {
		g.failed()
	}
	asks(true)
	g.answered() // the row begins anew
	for range failuresInRow - 1 {
		g.failed()
	}
	asks(true)
	g.failed()
	asks(false)

	for range 3 { // it still doesn't answer: one asks each time
		now = now.Add(sparedFor)
		var asked atomic.Int32
		var asking sync.WaitGroup
		for range 50 {
			asking.Go(func() {
				if g.asks() {
					asked.Add(1)
				}
			})
		}
		asking.Wait()
		if asked.Load() != 1 {
			t.Errorf("%d of 50 ask, want 1", asked.Load())
		}
		g.failed()
		asks(false)
	}

	now = now.Add(sparedFor)
	asks(true)
	g.answered()
	asks(true)
	asks(true)
}
