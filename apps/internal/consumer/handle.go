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
	"go.opentelemetry.io/otel/trace/noop"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/telemetry"
)

const (
	maxDeliveries = 5
	// A try ends by then also where the database hangs.
	tryTimeout  = 4 * time.Second
	longTimeout = time.Minute
	// maxDeadLetters bounds what broken publishers can fill a Redis with that evicts nothing.
	maxDeadLetters = 10_000
	maxReasonBytes = 500
)

//go:embed bury.lua
var buryScript string

// handle brings an entry as far as it comes: handled and acknowledged, left
// pending, or dead. It fails where the stream does, and when ctx is done.
func (c *Consumer) handle(ctx context.Context, entry goredis.XMessage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, effect, err := c.read(entry)
	ctx, span := c.begin(ctx, e)
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

// begin begins the span of an event. It is a part of the request that caused it,
// and linked to it, as OpenTelemetry has it for what comes through a queue.
func (c *Consumer) begin(ctx context.Context, e event.Event) (context.Context, trace.Span) {
	ctx = e.Within(ctx)
	if c.tracer == nil {
		return ctx, noop.Span{}
	}
	return c.tracer.Start(ctx, "process "+string(c.Stream), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(trace.LinkFromContext(ctx)))
}

// read reads an entry, and its effect if its type is known. What the
// entry makes fail here, it alone is to blame for, and a panic is no exception.
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

// apply applies the effect of an event. It tries for as long as it isn't done
// and the event isn't to blame, or until ctx is done.
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
		c.retry.Wait(ctx, failures)
	}
}

const remember = "INSERT INTO handled_events (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"

// try applies the effect in the transaction that remembers the event: of several
// at once, one inserts the row and the others wait for how that ends.
func (c *Consumer) try(ctx context.Context, id uuid.UUID, effect Effect) (applied bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	if c.Idempotent {
		return c.repeat(ctx, id, effect)
	}
	err = pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		first, err := tx.Exec(ctx, remember, c.Group, id)
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

// repeat applies the effect of an event that isn't remembered, and then remembers it.
func (c *Consumer) repeat(ctx context.Context, id uuid.UUID, effect Effect) (applied bool, err error) {
	var known bool
	err = c.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM handled_events WHERE consumer = $1 AND event_id = $2)", c.Group, id).Scan(&known)
	if err != nil || known {
		return false, err
	}
	if err := effect(ctx, c.pool); err != nil {
		return false, err
	}
	// What is done is remembered, also by a replica that is to stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryTimeout)
	defer cancel()
	_, err = c.pool.Exec(ctx, remember, c.Group, id)
	return err == nil, err
}

// Refusal is the failure of an effect that the event itself is to blame for.
type Refusal struct{ Cause error }

func (r Refusal) Error() string { return r.Cause.Error() }

// refused reports whether the event is to blame: by a Refusal, or because the
// database has answered and won't take what the event says. Whether
// postgres.Failure calls it unavailable wouldn't do: a missing table isn't that,
// and no event's fault either.
func refused(err error) bool {
	if _, ok := errors.AsType[Refusal](err); ok {
		return true
	}
	answer, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch answer.Code[:2] { // the class of the SQLSTATE, PostgreSQL manual, appendix A
	case "22", // data exception
		"23": // integrity constraint violation
		return true
	}
	return false
}

// fail leaves an entry pending that has failed by its own fault, or sends it to
// the dead letters if it was delivered often enough. Where even that fails, the
// entry stays pending, too: it must not stop those behind it.
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
	verdict, err := c.bury.Run(ctx, c.redis, []string{string(c.Stream), c.Stream.DeadLetters()},
		c.Group, entry.ID, maxDeliveries, kept, reason, time.Now().UTC().Format(time.RFC3339Nano)).Int64Slice()
	if err != nil {
		log.WarnContext(ctx, "event failed, and how often is not known", "stream", err)
		return
	}
	log = log.With("deliveries", verdict[0])
	if isDead := verdict[1] == 1; !isDead {
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
