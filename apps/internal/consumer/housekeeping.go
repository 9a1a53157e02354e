package consumer

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/postgres"
)

const (
	// goneAfter is how long a consumer has said nothing that will never be heard
	// of again: each has a name of its own.
	goneAfter = time.Hour
	// rememberFor is longer than the 7 days for which publishers can replay.
	rememberFor = 14 * 24 * time.Hour
)

//go:embed remove.lua
var removeScript string

// Chores remove consumers that are gone and what need not be remembered of handled events.
func (c *Consumer) Chores() []background.Chore {
	return []background.Chore{
		func(ctx context.Context) error { return c.removeGone(ctx, goneAfter) },
		func(ctx context.Context) error { return c.forget(ctx, rememberFor) },
	}
}

// forget deletes what says that an event was handled longer than age ago. An
// event that comes again after that has its effect again.
func (c *Consumer) forget(ctx context.Context, age time.Duration) error {
	return postgres.DeleteOld(ctx, c.pool, "handled_events", "consumer, event_id", "handled_at", age)
}

// removeGone removes consumers that have been idle for so long and have nothing
// pending. One that is still there, on a stream where nothing happens, comes
// back by itself with its next entry.
func (c *Consumer) removeGone(ctx context.Context, idle time.Duration) error {
	err := c.remove.Run(ctx, c.redis, []string{string(c.Stream)}, c.Group, idle.Milliseconds()).Err()
	if err != nil {
		return fmt.Errorf("removing consumers that are gone: %w", err)
	}
	return nil
}
