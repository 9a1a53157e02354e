package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The rates that capacity tries, in requests a second, and for how long.
const (
	firstRate = 30.0
	lastRate  = 960.0
	trial     = 8 * time.Second
	recovery  = 10 * time.Second // until what was too much is forgotten
)

// Beside is the rate that the platform is to bear beside other work that needs its machine, such as a release: a third of
// its capacity, and no more than 300 requests a second. A machine that is too small for its load loses requests whatever
// is done on it, which would show nothing of the work.
func Beside(ctx context.Context, options Options) (float64, error) {
	borne, err := capacity(ctx, options)
	return min(borne/3, 300), err
}

// capacity is the highest rate, of 30 requests a second doubled up to 960, that the platform answers without a loss and
// with a 99th percentile below a second. It takes some seconds for each rate, and fails where not even the first is borne.
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
				return 0, fmt.Errorf("load: this machine doesn't bear %g requests/s: %w", options.Rate, failure)
			}
			break
		}
		borne = options.Rate
	}
	return borne, ctx.Err()
}
