package consumer

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/event"
)

const (
	housekeepingInterval = 5 * time.Minute
	// goneAfter is how long a consumer has said nothing that will never be heard
	// of again: each has a name of its own.
	goneAfter = time.Hour
	// rememberFor is longer than the 7 days for which publishers can replay.
	rememberFor = 14 * 24 * time.Hour
)

//go:embed remove.lua
var removeScript string

// KeepHouse removes, from time to time until ctx is done, consumers that are
// gone and what need not be remembered of handled events.
func (c *Consumer) KeepHouse(ctx context.Context) {
	background.Every(ctx, housekeepingInterval, func() {
		err := errors.Join(c.removeGone(ctx, goneAfter), c.store.ForgetEvents(ctx, rememberFor))
		if err != nil && ctx.Err() == nil {
			c.log.Warn("housekeeping failed; it is tried again", "in", housekeepingInterval, "cause", err)
		}
	})
}

// removeGone removes consumers that have been idle for so long and have nothing
// pending. One that is still there, on a stream where nothing happens, comes
// back by itself with its next entry.
func (c *Consumer) removeGone(ctx context.Context, idle time.Duration) error {
	err := c.remove.Run(ctx, c.stream, []string{event.OrderStream}, Group, idle.Milliseconds()).Err()
	if err != nil {
		return fmt.Errorf("removing consumers that are gone: %w", err)
	}
	return nil
}
