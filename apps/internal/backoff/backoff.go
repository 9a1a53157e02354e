// Package backoff says how long to wait before what has failed is tried again.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Policy doubles the wait with each failure in a row, from Base up to Max.
type Policy struct{ Base, Max time.Duration }

// Delay is the wait after so many failures in a row, of which there is at least
// one. It is drawn from the upper half of the doubled time, so that those who
// failed together don't come again together.
func (p Policy) Delay(failures int) time.Duration {
	full := p.Base
	for range failures - 1 {
		if full >= p.Max/2 {
			full = p.Max
			break
		}
		full *= 2
	}
	return full - rand.N(full/2+1)
}

// Wait waits for Delay, or until ctx is done.
func (p Policy) Wait(ctx context.Context, failures int) {
	Sleep(ctx, p.Delay(failures))
}

// Sleep waits for that time, or until ctx is done.
func Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
