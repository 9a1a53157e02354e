// Package backoff computes the delay before a retry.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Policy doubles the delay with each consecutive failure, from Base up to Max.
type Policy struct{ Base, Max time.Duration }

// Delay returns the delay after the given number of consecutive failures, at least 1. It is random within the
// upper half of the doubled time, so that clients that failed together don't retry together.
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

// Sleep waits for d, or until ctx is done.
func Sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
