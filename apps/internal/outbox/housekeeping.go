package outbox

import (
	"context"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/postgres"
)

// Forget deletes events that are published and older than Retention.
func (r *Relay) Forget(ctx context.Context) error {
	return postgres.DeleteInBatches(ctx, r.pool, "deleting old events", r.outbox.sql(`DELETE FROM outbox WHERE id IN (
		SELECT id FROM outbox WHERE published_at IS NOT NULL AND occurred_at < $1
		ORDER BY occurred_at LIMIT $2 FOR UPDATE SKIP LOCKED)`), time.Now().Add(-Retention))
}

// Trim removes from the stream what every consumer group has acknowledged. As
// long as one of Groups has yet to join, all stays.
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

// needed is where the part of the stream begins that some group still needs;
// zero where all of it may be needed.
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
	var needed position
	for i, group := range groups {
		// The last entry that was delivered stays, too: the one after it may have
		// no id yet.
		first, err := parsePosition(group.LastDeliveredID)
		if err != nil {
			return position{}, err
		}
		pending, err := r.stream.XPending(ctx, string(r.outbox.Stream), group.Name).Result()
		if err != nil {
			return position{}, err
		}
		if pending.Count > 0 {
			oldest, err := parsePosition(pending.Lower)
			if err != nil {
				return position{}, err
			}
			if oldest.before(first) {
				first = oldest
			}
		}
		if i == 0 || first.before(needed) {
			needed = first
		}
	}
	return needed, nil
}
