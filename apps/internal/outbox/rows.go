package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"platform.example/apps/internal/event"
)

// lockKey is the advisory lock of the outbox. Relays share it while they publish; requeue holds it
// exclusively. Otherwise a relay could publish a row while requeue resets an earlier row of the same subject,
// or mark a row as published although the stream has just lost it.
const lockKey int64 = 0x6f7574626f78 // "outbox"

// The statements of a round. Each has its own snapshot.
const (
	// A relay that is frozen or whose node is cut off must not keep its rows locked: Postgres then ends the
	// transaction. The timeout is longer than Redis may take.
	boundRound = "SET LOCAL idle_in_transaction_session_timeout = '5s'"

	shareLock = "SELECT pg_advisory_xact_lock_shared($1)"

	selectNewest = `SELECT stream_ms, stream_seq FROM outbox WHERE published_at IS NOT NULL
		ORDER BY stream_ms DESC, stream_seq DESC LIMIT 1`

	// Selects the first unpublished row of each subject. If another relay has locked that row, no row of the
	// subject is selected.
	selectHeads = `SELECT id, event_id, type, payload, traceparent, occurred_at FROM outbox AS head
		WHERE published_at IS NULL AND NOT EXISTS (
			SELECT FROM outbox AS earlier
			WHERE earlier.subject = head.subject AND earlier.id < head.id AND earlier.published_at IS NULL)
		ORDER BY id LIMIT $1
		FOR UPDATE OF head SKIP LOCKED`

	// Removes the secret once it is published: a replay repeats the event without it.
	markPublished = `UPDATE outbox SET published_at = clock_timestamp(), stream_ms = done.ms, stream_seq = done.seq,
			payload = payload - 'secret'
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS done (id, ms, seq)
		WHERE outbox.id = done.id`
)

// batch holds locked rows and their events.
type batch struct {
	ids    []int64
	events []event.Event
}

// take locks the next rows to publish. It also returns the newest position of any published row.
func (o Outbox) take(ctx context.Context, tx pgx.Tx) (known position, taken batch, err error) {
	var statements pgx.Batch
	statements.Queue(boundRound)
	statements.Queue(shareLock, lockKey)
	statements.Queue(o.sql(selectNewest)).Query(func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, []any{&known.ms, &known.seq}, func() error { return nil })
		return err
	})
	statements.Queue(o.sql(selectHeads), batchSize).Query(func(rows pgx.Rows) error {
		var id int64
		var e event.Event
		_, err := pgx.ForEachRow(rows, []any{&id, &e.ID, &e.Type, &e.Data, &e.Traceparent, &e.OccurredAt}, func() error {
			taken.ids = append(taken.ids, id)
			taken.events = append(taken.events, e)
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, &statements).Close(); err != nil {
		return position{}, batch{}, fmt.Errorf("reading the outbox: %w", err)
	}
	return known, taken, nil
}

// markPublished stores the positions of published rows, and returns their number. It skips rows with the zero
// position.
func (o Outbox) markPublished(ctx context.Context, tx pgx.Tx, ids []int64, positions []position) (published int, err error) {
	var done, ms, seq []int64
	for i, p := range positions {
		if p != (position{}) {
			done, ms, seq = append(done, ids[i]), append(ms, p.ms), append(seq, p.seq)
		}
	}
	if len(done) == 0 {
		return 0, nil
	}
	if _, err := tx.Exec(ctx, o.sql(markPublished), done, ms, seq); err != nil {
		return 0, fmt.Errorf("marking events as published: %w", err)
	}
	return len(done), nil
}
