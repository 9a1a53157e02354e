package consumer

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
)

const (
	// goneAfter is how long a consumer must be idle to count as gone. Its name is never used again.
	goneAfter = time.Hour
	// rememberFor is longer than the 7 days for which publishers can replay.
	rememberFor = 14 * 24 * time.Hour
)

//go:embed remove.lua
var removeScript string
var remove = goredis.NewScript(removeScript)

// Chores returns the chores that remove gone consumers and old records of handled events.
func (c *Consumer) Chores() []background.Chore {
	return []background.Chore{
		func(ctx context.Context) error { return c.removeGone(ctx, goneAfter) },
		func(ctx context.Context) error { return c.forget(ctx, rememberFor) },
	}
}

// forget deletes the records of events that were handled longer than age ago. Such an event would have its
// effect again.
func (c *Consumer) forget(ctx context.Context, age time.Duration) error {
	return postgres.DeleteOld(ctx, c.pool, "handled_events", "consumer, event_id", "handled_at", age)
}

// removeGone removes consumers that have been idle for that time and have no pending entry. A consumer that
// is still running on an idle stream returns with its next entry.
func (c *Consumer) removeGone(ctx context.Context, idle time.Duration) error {
	err := remove.Run(ctx, c.redis, []string{string(c.Stream)}, c.Group, idle.Milliseconds()).Err()
	if err != nil {
		return fmt.Errorf("removing consumers that are gone: %w", err)
	}
	return nil
}

//go:embed redrive.lua
var redriveScript string
var redrive = goredis.NewScript(redriveScript)

// Redrive moves the dead letters of a stream back into the stream, and returns their number. All groups of
// the stream receive them. A group that has handled an event skips it by id, until rememberFor has passed: a
// letter has an effect only in the group that failed.
func Redrive(ctx context.Context, client *goredis.Client, stream event.Stream) (letters int, err error) {
	for {
		n, err := redrive.Run(ctx, client, []string{stream.DeadLetters(), string(stream)}, batchSize).Int()
		letters += n
		if err != nil {
			return letters, fmt.Errorf("redriving the dead letters of %s (%d are done): %w", stream, letters, err)
		}
		if n < batchSize {
			return letters, nil
		}
	}
}
