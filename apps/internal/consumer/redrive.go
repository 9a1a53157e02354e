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

// Redrive puts the dead letters of a stream back into it, and returns how many
// there were. All groups of the stream get them. A group that has handled an event skips it by its id, until rememberFor
// has passed since then: only in the group that failed does a letter have an effect.
func Redrive(ctx context.Context, stream *goredis.Client, of event.Stream) (letters int, err error) {
	script := goredis.NewScript(redriveScript)
	for {
		n, err := script.Run(ctx, stream, []string{of.DeadLetters(), string(of)}, batchSize).Int()
		letters += n
		if err != nil {
			return letters, fmt.Errorf("putting back the dead letters of %s (%d are back): %w", of, letters, err)
		}
		if n < batchSize {
			return letters, nil
		}
	}
}
