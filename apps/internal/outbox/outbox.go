// Package outbox publishes the events of a service's database to a stream: at least once, and in order for
// each subject, such as an order.
//
// A service writes an event in the transaction of the change that the event describes, while the row of the
// subject is locked. The ids of one subject's events therefore follow the order of its commits. A Relay adds
// the event to the stream afterwards, and records its position there. If the relay dies in between, the event
// is published twice, but is never lost.
package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/propagation"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/telemetry"
)

// Retention is how long an event can be published again: seven days from its occurrence, or until it is
// published if that takes longer.
const Retention = 7 * 24 * time.Hour

// Outbox is a table of events like the table outbox that order-service's first migration creates, with its
// own column for the subject.
type Outbox struct {
	Service string       // the owner of the database; metrics are named after it
	Stream  event.Stream // the events are published to this stream
	Table   string
	Subject string // the column with the id of an event's subject
	// Groups are the consumer groups that must exist before the stream is trimmed: a group receives the
	// events from before it joined.
	Groups []string
}

// Add queues the statement that writes an event. The batch must run in the transaction that locks or creates
// the subject.
func (o Outbox) Add(ctx context.Context, batch *pgx.Batch, eventType event.Type, at time.Time, subject uuid.UUID, data any) {
	request := propagation.MapCarrier{} // the W3C trace context of the request that ctx belongs to
	telemetry.Propagate(ctx, request)
	batch.Queue(o.sql(`INSERT INTO outbox (event_id, subject, type, payload, traceparent, occurred_at)
		VALUES ($1, $2, $3, $4, $5, $6)`), uuid.Must(uuid.NewV7()), subject, eventType, data, request["traceparent"], at)
}

// sql rewrites a statement on the table outbox and its column subject to the table and the column of o.
func (o Outbox) sql(statement string) string {
	return strings.NewReplacer("outbox", o.Table, "subject", o.Subject).Replace(statement)
}

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

const (
	resetLost = `UPDATE outbox SET published_at = NULL, stream_ms = NULL, stream_seq = NULL
		WHERE published_at IS NOT NULL AND (stream_ms, stream_seq) > ($1, $2)`

	resetSince = `UPDATE outbox SET published_at = NULL, stream_ms = NULL, stream_seq = NULL
		WHERE published_at IS NOT NULL AND occurred_at >= $1`
)

// Replay makes the relays publish the events since the given time again, as far back as Retention, and
// returns their number. Consumers skip events that they have handled, by id.
func (o Outbox) Replay(ctx context.Context, pool *pgxpool.Pool, since time.Time) (int64, error) {
	n, err := requeue(ctx, pool, o.sql(resetSince), since)
	if err != nil {
		return 0, fmt.Errorf("replaying (no events are queued; run it again): %w", err)
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
	n, err := requeue(ctx, r.pool, r.outbox.sql(resetLost), lost.last.ms, lost.last.seq)
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

// requeue runs a statement that resets rows to unpublished, and returns their number. No relay publishes
// meanwhile. Either all rows are reset or none.
func requeue(ctx context.Context, pool *pgxpool.Pool, statement string, arguments ...any) (rows int64, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey); err != nil {
			return fmt.Errorf("waiting for the relays to pause: %w", err)
		}
		// There may be a million rows. If this process ends, the statement ends, too, and lets the relays go on.
		if _, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', '0', true), set_config('client_connection_check_interval', '5s', true)"); err != nil {
			return err
		}
		result, err := tx.Exec(ctx, statement, arguments...)
		rows = result.RowsAffected()
		return err
	})
	if err != nil {
		return 0, err
	}
	return rows, nil
}
