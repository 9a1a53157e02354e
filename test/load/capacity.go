package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The rates that capacity tries, in requests per second, and the duration of each.
const (
	firstRate = 30.0
	lastRate  = 960.0
	trial     = 8 * time.Second
	recovery  = 10 * time.Second // after an overload
)

// Beside returns the rate for tests that run beside other work on the machine, such as a release: a third of the capacity, and at
// most 300 requests per second. A machine that is too small for its load loses requests anyway, so that losses would prove
// nothing about the other work.
func Beside(ctx context.Context, options Options) (float64, error) {
	borne, err := capacity(ctx, options)
	return min(borne/3, 300), err
}

// capacity returns the highest rate, from 30 requests per second doubled up to 960, at which no request is lost and the 99th
// percentile is below a second. Each rate takes some seconds. It fails if the platform doesn't sustain the first rate.
func capacity(ctx context.Context, options Options) (float64, error) {
	options.Duration, options.InFlight = trial, 200
	var borne float64
	for options.Rate = firstRate; options.Rate <= lastRate; options.Rate *= 2 {
		run, err := Start(ctx, options)
		if err != nil {
			return 0, err
		}
		<-run.Done()
		result := run.Stop()
		failure := errors.Join(run.Settle(ctx), result.Err())
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if p99 := result.Percentile(.99); failure == nil && p99 >= time.Second {
			failure = fmt.Errorf("the 99th percentile is %s", p99)
		}
		if failure != nil {
			wait(ctx, recovery)
			if borne == 0 {
				return 0, fmt.Errorf("load: this machine doesn't sustain %g requests/s: %w", options.Rate, failure)
			}
			break
		}
		borne = options.Rate
	}
	return borne, ctx.Err()
}
