// Package background runs the work of a service besides its requests.
package background

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const choreInterval = time.Minute

// Chore is a short task that runs at regular intervals.
type Chore func(ctx context.Context) error

// Work runs until ctx is done.
type Work func(ctx context.Context)

// Start starts the work. The returned function cancels it and waits for its end.
func Start(ctx context.Context, work ...Work) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, w := range work {
		running.Go(func() { w(ctx) })
	}
	return func() { cancel(); running.Wait() }
}

// Chores returns work that runs the chores one after the other, once a minute. A failed chore is logged and
// runs again a minute later.
func Chores(log *slog.Logger, chores ...Chore) Work {
	return func(ctx context.Context) {
		Every(ctx, choreInterval, func() {
			for _, chore := range chores {
				if err := chore(ctx); err != nil && ctx.Err() == nil {
					log.Warn("housekeeping failed and is retried", "in", choreInterval, "cause", err)
				}
			}
		})
	}
}

// Every calls do at once and after each interval, until ctx is done.
func Every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
