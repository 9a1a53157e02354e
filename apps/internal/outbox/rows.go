package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"platform.example/apps/internal/event"
)

// lockKey is the advisory lock between relays, which share it while they
// publish, and whoever marks rows unpublished, alone. Without it a row might be
// published while one before it, of the same subject, is about to be published again;
// or be noted as published after a loss that took it was mended.
const lockKey int64 = 0x6f7574626f78 // "outbox"

// The statements that begin a round, each with a snapshot of its own.
const (
	// A relay that is frozen, or whose node is cut off, must not keep its rows:
	// after this Postgres ends the transaction. Longer than Redis may take.
	boundRound = "SET LOCAL idle_in_transaction_session_timeout = '5s'"

	shareLock = "SELECT pg_advisory_xact_lock_shared($1)"

	selectNewest = `SELECT stream_ms, stream_seq FROM outbox WHERE published_at IS NOT NULL
		ORDER BY stream_ms DESC, stream_seq DESC LIMIT 1`

	// The first unpublished row of each subject only. Where it is another relay's,
	// the subject is left alone.
	selectHeads = `SELECT id, event_id, type, payload, traceparent, occurred_at FROM outbox AS head
		WHERE published_at IS NULL AND NOT EXISTS (
			SELECT FROM outbox AS earlier
			WHERE earlier.subject = head.subject AND earlier.id < head.id AND earlier.published_at IS NULL)
		ORDER BY id LIMIT $1
		FOR UPDATE OF head SKIP LOCKED`

	// A secret is not kept once it is published: a replay repeats the event without it.
	notePublished = `UPDATE outbox SET published_at = clock_timestamp(), stream_ms = done.ms, stream_seq = done.seq,
			payload = payload - 'secret'
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS done (id, ms, seq)
		WHERE outbox.id = done.id`
)

// batch are rows that are locked, and the events that they hold.
type batch struct {
	ids    []int64
	events []event.Event
}

// take locks the next rows to publish, and returns with them the newest
// position that any row is known to have had.
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

// note keeps where rows were published; those with the zero position weren't.
func (o Outbox) note(ctx context.Context, tx pgx.Tx, ids []int64, positions []position) (noted int, err error) {
	var done, ms, seq []int64
	for i, p := range positions {
		if p != (position{}) {
			done, ms, seq = append(done, ids[i]), append(ms, p.ms), append(seq, p.seq)
		}
	}
	if len(done) == 0 {
		return 0, nil
	}
	if _, err := tx.Exec(ctx, o.sql(notePublished), done, ms, seq); err != nil {
		return 0, fmt.Errorf("noting what is published: %w", err)
	}
	return len(done), nil
}
