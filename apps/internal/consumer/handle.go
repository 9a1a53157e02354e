package consumer

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"platform.example/apps/internal/backoff"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/telemetry"
)

const (
	maxDeliveries = 5
	// Limits a try if the database hangs.
	tryTimeout  = 4 * time.Second
	longTimeout = time.Minute
	// Limits how much memory invalid events can take in a Redis that evicts nothing.
	maxDeadLetters = 10_000
	maxReasonBytes = 500
)

//go:embed deadletter.lua
var deadLetterScript string
var deadLetter = goredis.NewScript(deadLetterScript)

// handle handles an entry and acknowledges it, or leaves it pending, or makes it a dead letter. It fails if
// Redis fails or ctx is done.
func (c *Consumer) handle(ctx context.Context, entry goredis.XMessage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, effect, err := c.read(entry)
	// The span is a child of the request that caused the event and has a link to it, as OpenTelemetry recommends
	// for messaging.
	ctx = e.Within(ctx)
	ctx, span := c.tracer.Start(ctx, "process "+string(c.Stream),
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(trace.LinkFromContext(ctx)))
	defer func() { telemetry.Finish(span, err) }()
	log := c.log.With("entry", entry.ID, "event_id", e.ID, "type", c.label(e.Type))
	result := unknown
	if err == nil && effect != nil {
		result, err = c.apply(ctx, log, e.ID, effect)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.fail(ctx, log, entry, e.Type, err)
		return nil
	}
	if err = c.redis.XAck(ctx, string(c.Stream), c.Group, entry.ID).Err(); err != nil {
		return fmt.Errorf("acknowledging entry %s: %w", entry.ID, err)
	}
	c.metrics.handled(c.label(e.Type), result)
	log.InfoContext(ctx, "event", "outcome", result)
	return nil
}

// read parses an entry, and returns its effect if the consumer handles its type. Any failure here, including
// a panic, is the fault of the entry.
func (c *Consumer) read(entry goredis.XMessage) (e event.Event, effect Effect, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v\n%s", value, debug.Stack())
		}
	}()
	if e, err = c.Stream.Parse(entry.Values); err == nil && slices.Contains(c.Types, e.Type) {
		effect, err = c.Handle(e)
	}
	return e, effect, err
}

// apply applies the effect of an event. It retries until the effect succeeds, the event itself is at fault,
// or ctx is done.
func (c *Consumer) apply(ctx context.Context, log *slog.Logger, id uuid.UUID, effect Effect) (outcome, error) {
	for failures := 1; ; failures++ {
		applied, err := c.try(ctx, id, effect)
		switch {
		case err == nil && applied:
			return handled, nil
		case err == nil:
			return duplicate, nil
		case ctx.Err() != nil || refused(err):
			return "", err
		}
		if failures == 1 {
			log.WarnContext(ctx, "events wait", "stream", c.Stream, "cause", err)
		}
		backoff.Store.Wait(ctx, failures)
	}
}

const recordHandled = "INSERT INTO handled_events (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"

// try applies the effect in the transaction that records the event as handled. Of concurrent tries, one
// inserts the row and the others wait for its transaction.
func (c *Consumer) try(ctx context.Context, id uuid.UUID, effect Effect) (applied bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	if c.Idempotent {
		return c.repeat(ctx, id, effect)
	}
	err = pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		first, err := tx.Exec(ctx, recordHandled, c.Group, id)
		applied = err == nil && first.RowsAffected() == 1
		if !applied {
			return err
		}
		return effect(ctx, tx)
	})
	if err != nil {
		return false, postgres.Failure("applying an event", err)
	}
	return applied, nil
}

// repeat applies the effect of an event that isn't recorded as handled, and then records it.
func (c *Consumer) repeat(ctx context.Context, id uuid.UUID, effect Effect) (applied bool, err error) {
	var known bool
	err = c.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM handled_events WHERE consumer = $1 AND event_id = $2)", c.Group, id).Scan(&known)
	if err != nil || known {
		return false, err
	}
	if err := effect(ctx, c.pool); err != nil {
		return false, err
	}
	// Record a finished effect even if the replica must stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryTimeout)
	defer cancel()
	_, err = c.pool.Exec(ctx, recordHandled, c.Group, id)
	return err == nil, err
}

// Refusal is the error of an effect that fails by the fault of the event.
type Refusal struct{ Cause error }

func (r Refusal) Error() string { return r.Cause.Error() }

// refused reports whether the event is at fault: err is a Refusal, or the database refuses the data of the
// event. The opposite of problem.Unavailable would not do: a missing table is neither unavailable nor the
// fault of an event.
func refused(err error) bool {
	if _, ok := errors.AsType[Refusal](err); ok {
		return true
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pgErr.Code[:2] { // the class of the SQLSTATE, PostgreSQL manual, appendix A
	case "22", // data exception
		"23": // integrity constraint violation
		return true
	}
	return false
}

// fail leaves an entry pending that failed by its own fault, or makes it a dead letter after maxDeliveries.
// If Redis fails, the entry stays pending, so that the consumer can go on with the next one.
func (c *Consumer) fail(ctx context.Context, log *slog.Logger, entry goredis.XMessage, t event.Type, cause error) {
	reason := cause.Error()
	if len(reason) > maxReasonBytes {
		reason = strings.ToValidUTF8(reason[:maxReasonBytes], "")
	}
	log = log.With("cause", reason)
	kept := maxDeadLetters
	if c.Discard {
		kept = 0
	}
	result, err := deadLetter.Run(ctx, c.redis, []string{string(c.Stream), c.Stream.DeadLetters()},
		c.Group, entry.ID, maxDeliveries, kept, reason, time.Now().UTC().Format(time.RFC3339Nano)).Int64Slice()
	if err != nil {
		log.WarnContext(ctx, "event failed, and the number of its deliveries is unknown", "stream", err)
		return
	}
	log = log.With("deliveries", result[0])
	if isDead := result[1] == 1; !isDead {
		log.WarnContext(ctx, "event failed and will be tried again")
		return
	}
	c.metrics.handled(c.label(t), dead)
	if c.Discard {
		log.ErrorContext(ctx, "event is dead and dropped")
		return
	}
	log.ErrorContext(ctx, "event is dead: it is in "+c.Stream.DeadLetters()+" (make redrive)")
}
