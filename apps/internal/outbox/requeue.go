package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// requeueBatch is the number of rows per statement: few enough for the statement timeout of 3 s on a busy
	// database.
	requeueBatch = 1000

	// unlockTimeout limits the unlock statement. After it the connection is closed, which unlocks too.
	unlockTimeout = 2 * time.Second

	resetLost = `UPDATE outbox SET published_at = NULL, stream_ms = NULL, stream_seq = NULL WHERE id IN (
		SELECT id FROM outbox WHERE published_at IS NOT NULL AND (stream_ms, stream_seq) > ($1, $2)
		ORDER BY stream_ms, stream_seq LIMIT $3)`

	resetSince = `UPDATE outbox SET published_at = NULL, stream_ms = NULL, stream_seq = NULL WHERE id IN (
		SELECT id FROM outbox WHERE published_at IS NOT NULL AND occurred_at >= $1
		ORDER BY occurred_at LIMIT $2)`
)

// Replay makes the relays publish the events since the given time again, as far back as Retention, and
// returns their number. Consumers skip events that they have handled, by id.
func (o Outbox) Replay(ctx context.Context, pool *pgxpool.Pool, since time.Time) (int64, error) {
	n, err := requeue(ctx, pool, o.sql(resetSince), since, requeueBatch)
	if err != nil {
		return n, fmt.Errorf("replaying (%d events are queued; run it again): %w", n, err)
	}
	return n, nil
}

// requeueLost queues the events that the stream has lost. If several relays detect the same loss, only one
// finds rows to queue.
//
// A stream that was wiped has lost all entries. A Redis that crashes before its writes reach the disk loses
// the last entries. One case is not detected: an entry is lost before the relay that added it commits, and
// another relay, which doesn't know the entry, is the first to publish after the loss. Redis would have to
// crash and restart between two statements of that relay.
func (r *Relay) requeueLost(ctx context.Context, lost *lostError) error {
	n, err := requeue(ctx, r.pool, r.outbox.sql(resetLost), lost.last.ms, lost.last.seq, requeueBatch)
	if n > 0 {
		r.metrics.losses.Inc()
		r.log.Warn("the stream has lost entries: their events are published again",
			"events", n, "last_id", lost.last.String(), "known_id", lost.known.String())
	}
	if err != nil {
		return fmt.Errorf("queueing lost events: %w", err)
	}
	return nil
}

// requeue runs a statement that resets rows to unpublished, until it changes no more rows. It returns their
// number. No relay publishes meanwhile.
func requeue(ctx context.Context, pool *pgxpool.Pool, statement string, arguments ...any) (rows int64, err error) {
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
			return rows, err
		}
		rows += result.RowsAffected()
	}
}
