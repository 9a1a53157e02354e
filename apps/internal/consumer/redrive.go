package consumer

import (
	"context"
	_ "embed"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/event"
)

//go:embed redrive.lua
var redriveScript string

// Redrive moves the dead letters of a stream back into the stream, and returns their number. All groups of
// the stream receive them. A group that has handled an event skips it by id, until rememberFor has passed: a
// letter has an effect only in the group that failed.
func Redrive(ctx context.Context, client *goredis.Client, stream event.Stream) (letters int, err error) {
	script := goredis.NewScript(redriveScript)
	for {
		n, err := script.Run(ctx, client, []string{stream.DeadLetters(), string(stream)}, batchSize).Int()
		letters += n
		if err != nil {
			return letters, fmt.Errorf("redriving the dead letters of %s (%d are done): %w", stream, letters, err)
		}
		if n < batchSize {
			return letters, nil
		}
	}
}
