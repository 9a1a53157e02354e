package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// againBatch rows are changed at a time: few enough for the 3 s that a
	// statement may take on a busy database.
	againBatch = 1000

	// unlockTimeout is for a statement that does nothing; beyond it the
	// connection is closed, which unlocks too.
	unlockTimeout = 2 * time.Second

	markLost = `UPDATE outbox SET published_at = NULL, stream_ms = NULL, stream_seq = NULL WHERE id IN (
		SELECT id FROM outbox WHERE published_at IS NOT NULL AND (stream_ms, stream_seq) > ($1, $2)
		ORDER BY stream_ms, stream_seq LIMIT $3)`

	markSince = `UPDATE outbox SET published_at = NULL, stream_ms = NULL, stream_seq = NULL WHERE id IN (
		SELECT id FROM outbox WHERE published_at IS NOT NULL AND occurred_at >= $1
		ORDER BY occurred_at LIMIT $2)`
)

// Replay has the events since then told again, as far as Retention goes, and
// returns how many these are. Consumers know by its id what they have handled.
func (o Outbox) Replay(ctx context.Context, pool *pgxpool.Pool, since time.Time) (int64, error) {
	n, err := again(ctx, pool, o.sql(markSince), since, againBatch)
	if err != nil {
		return n, fmt.Errorf("replaying (%d events are marked; run it again): %w", n, err)
	}
	return n, nil
}

// retell has told again what the stream has lost. Of several relays that notice
// the same loss, one finds something to mark.
//
// A stream that was wiped has lost all; one that lost its tail, which a Redis
// that crashes before its disk has everything may, has lost that. Only one case
// is not noticed: an entry is lost while the relay that added it has yet to
// commit, and another relay, which doesn't know of it, is the first to publish
// after the loss. A crash of Redis and its restart would have to fall between
// two statements of that relay.
func (r *Relay) retell(ctx context.Context, lost *lostError) error {
	n, err := again(ctx, r.pool, r.outbox.sql(markLost), lost.last.ms, lost.last.seq, againBatch)
	if n > 0 {
		r.metrics.losses.Inc()
		r.log.Warn("the stream has lost entries: their events are told again",
			"events", n, "last_id", lost.last.String(), "known_id", lost.known.String())
	}
	if err != nil {
		return fmt.Errorf("marking lost events unpublished: %w", err)
	}
	return nil
}

// again runs a statement that marks some rows unpublished until there are none
// left. No relay publishes meanwhile.
func again(ctx context.Context, pool *pgxpool.Pool, statement string, arguments ...any) (marked int64, err error) {
	connection, err := pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer connection.Release()
	if _, err := connection.Exec(ctx, "SELECT pg_advisory_lock($1)", lockKey); err != nil {
		return 0, fmt.Errorf("waiting for the relays to pause: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		_, _ = connection.Exec(ctx, "SELECT pg_advisory_unlock($1)", lockKey)
	}()
	for {
		result, err := connection.Exec(ctx, statement, arguments...)
		if err != nil || result.RowsAffected() == 0 {
			return marked, err
		}
		marked += result.RowsAffected()
	}
}
