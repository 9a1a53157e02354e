package outbox

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/event"
)

//go:embed publish.lua
var publishScript string
var publish = goredis.NewScript(publishScript)

// lostError reports that the stream has lost the entries after last.
type lostError struct {
	stream      event.Stream
	last, known position
}

func (e *lostError) Error() string {
	return fmt.Sprintf("the stream %s has lost its entries after %s: it had an entry %s", e.stream, e.last, e.known)
}

// publish adds events to the stream and returns their positions. If Redis refuses some events, publish
// returns the zero position for them, and an error. If the last id of the stream is below known, publish adds
// nothing and fails with *lostError.
func (r *Relay) publish(ctx context.Context, known position, events []event.Event) ([]position, error) {
	arguments := []any{known.ms, known.seq, 0}
	for _, e := range events {
		fields := r.outbox.Stream.Fields(e)
		arguments[2] = len(fields)
		arguments = append(arguments, fields...)
	}
	reply, err := publish.Run(ctx, r.stream, []string{string(r.outbox.Stream)}, arguments...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("publishing to %s: %w", r.outbox.Stream, err)
	}
	last, err := parsePosition(reply[0])
	if err != nil {
		return nil, err
	}
	if last.compare(known) < 0 {
		return nil, &lostError{r.outbox.Stream, last, known}
	}
	positions := make([]position, len(events))
	var refused error
	for i, added := range reply[1:] {
		if positions[i], err = parsePosition(added); err != nil {
			refused = fmt.Errorf("publishing event %s: %s", events[i].ID, added)
		}
	}
	return positions, refused
}

// position is the id of a stream entry. Redis builds it from its clock and a counter; it never decreases
// while Redis keeps the stream.
type position struct{ ms, seq int64 }

func (p position) String() string { return fmt.Sprintf("%d-%d", p.ms, p.seq) }

func (p position) compare(other position) int {
	return cmp.Or(cmp.Compare(p.ms, other.ms), cmp.Compare(p.seq, other.seq))
}

func parsePosition(raw string) (p position, err error) {
	if _, err = fmt.Sscanf(raw, "%d-%d", &p.ms, &p.seq); err != nil || p.String() != raw {
		return position{}, fmt.Errorf("%q is not the id of a stream entry", raw)
	}
	return p, nil
}
