package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"platform.example/apps/internal/live"
)

const (
	// restartPause is before background work that has ended by itself is begun anew.
	restartPause = time.Second
	choreTime    = time.Minute
)

// start begins the background work and returns what ends it, and waits for that.
func start(ctx context.Context, work ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, w := range work {
		running.Go(func() { w(ctx) })
	}
	return func() { cancel(); running.Wait() }
}

// whileOn is work that goes on while the colour of this process is live.
func whileOn(colour *live.Switch, work func(context.Context)) func(context.Context) {
	return func(ctx context.Context) { colour.While(ctx, restartPause, work) }
}

// chores are done in turns, once a minute. One that fails, because Postgres or
// Redis is away, is done a minute later.
func chores(log *slog.Logger, chores ...func(context.Context) error) func(context.Context) {
	return func(ctx context.Context) {
		again := time.NewTicker(choreTime)
		defer again.Stop()
		for {
			for _, chore := range chores {
				if err := chore(ctx); err != nil && ctx.Err() == nil {
					log.Warn("housekeeping failed; it is tried again", "in", choreTime, "cause", err)
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-again.C:
			}
		}
	}
}
