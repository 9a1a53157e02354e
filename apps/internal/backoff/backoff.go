// Package backoff delays retries.
package backoff

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Policy doubles the delay with each consecutive failure, from Base up to Max.
type Policy struct{ Base, Max time.Duration }

// Store is the policy while the database or Redis is unavailable.
var Store = Policy{Base: 100 * time.Millisecond, Max: 5 * time.Second}

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

// Repeat calls do until ctx is done, and waits after a failure. It logs the first of consecutive failures, with
// trouble as the message.
func (p Policy) Repeat(ctx context.Context, log *slog.Logger, trouble string, do func() error) {
	for failures := 0; ctx.Err() == nil; {
		switch err := do(); {
		case err != nil && ctx.Err() == nil:
			if failures++; failures == 1 {
				log.Warn(trouble, "cause", err)
			}
			p.Wait(ctx, failures)
		case err == nil && failures > 0:
			log.Info("over: " + trouble)
			failures = 0
		}
	}
}

// Sleep waits for d, or until ctx is done.
func Sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
