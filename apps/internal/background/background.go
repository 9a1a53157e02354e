// Package background is the work that a service does beside its requests.
package background

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"platform.example/apps/internal/live"
)

const (
	// restartPause is before work that has ended by itself is begun anew.
	restartPause = time.Second
	choreTime    = time.Minute
)

// Chore is a short piece of work that is done again and again.
type Chore func(ctx context.Context) error

// Work goes on until ctx is done.
type Work func(ctx context.Context)

// Start begins the work and returns what ends it, and waits for that.
func Start(ctx context.Context, work ...Work) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, w := range work {
		running.Go(func() { w(ctx) })
	}
	return func() { cancel(); running.Wait() }
}

// While is work that is done while the colour of this process is live, and begun
// anew a second after it has ended by itself.
func While(colour *live.Switch, work Work) Work {
	return func(ctx context.Context) { colour.While(ctx, restartPause, work) }
}

// Chores are done in turns, once a minute. One that fails, because Postgres or
// Redis is away, is done a minute later.
func Chores(log *slog.Logger, chores ...Chore) Work {
	return func(ctx context.Context) {
		Every(ctx, choreTime, func() {
			for _, chore := range chores {
				if err := chore(ctx); err != nil && ctx.Err() == nil {
					log.Warn("housekeeping failed; it is tried again", "in", choreTime, "cause", err)
				}
			}
		})
	}
}

// Every does something at once and again after each interval, until ctx is done.
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
