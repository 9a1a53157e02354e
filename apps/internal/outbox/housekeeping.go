package outbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/postgres"
)

// Forget deletes published events that are older than Retention.
func (r *Relay) Forget(ctx context.Context) error {
	return postgres.DeleteInBatches(ctx, r.pool, "deleting old events", r.outbox.sql(`DELETE FROM outbox WHERE id IN (
		SELECT id FROM outbox WHERE published_at IS NOT NULL AND occurred_at < $1
		ORDER BY occurred_at LIMIT $2 FOR UPDATE SKIP LOCKED)`), time.Now().Add(-Retention))
}

// Trim removes the entries that every consumer group has acknowledged from the stream. It removes nothing
// until all Groups have joined.
func (r *Relay) Trim(ctx context.Context) error {
	needed, err := r.needed(ctx)
	if err == nil && needed != (position{}) {
		err = r.stream.XTrimMinID(ctx, string(r.outbox.Stream), needed.String()).Err()
	}
	if err != nil {
		return fmt.Errorf("trimming %s: %w", r.outbox.Stream, err)
	}
	return nil
}

// needed returns the position of the first entry that a group still needs. The zero position means that all
// entries may be needed.
func (r *Relay) needed(ctx context.Context) (position, error) {
	exists, err := r.stream.Exists(ctx, string(r.outbox.Stream)).Result()
	if err != nil || exists == 0 {
		return position{}, err
	}
	groups, err := r.stream.XInfoGroups(ctx, string(r.outbox.Stream)).Result()
	joined := func(name string) bool {
		return slices.ContainsFunc(groups, func(g goredis.XInfoGroup) bool { return g.Name == name })
	}
	if err != nil || len(groups) == 0 || slices.ContainsFunc(r.outbox.Groups, func(name string) bool { return !joined(name) }) {
		return position{}, err
	}
	var needed []position
	for _, group := range groups {
		pending, err := r.stream.XPending(ctx, string(r.outbox.Stream), group.Name).Result()
		if err != nil {
			return position{}, err
		}
		// Keep the last delivered entry, too: the entry after it may have no id yet.
		for _, id := range []string{group.LastDeliveredID, cmp.Or(pending.Lower, group.LastDeliveredID)} {
			p, err := parsePosition(id)
			if err != nil {
				return position{}, err
			}
			needed = append(needed, p)
		}
	}
	return slices.MinFunc(needed, position.compare), nil
}
