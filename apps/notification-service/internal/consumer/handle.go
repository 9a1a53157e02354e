package consumer

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/telemetry"
	"platform.example/apps/notification-service/internal/notification"
	"platform.example/apps/notification-service/internal/store"
)

const (
	maxDeliveries = 5
	// A try ends by then also where the database hangs; above the 3 s that it
	// gives a statement itself.
	tryTimeout = 4 * time.Second
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
	e, n, err := read(entry)
	ctx, span := c.begin(ctx, e)
	defer func() { telemetry.Finish(span, err) }()
	log := c.log.With("entry", entry.ID, "event_id", e.ID, "type", label(e.Type))
	result := unknown
	if err == nil && notification.Known(e.Type) {
		result, err = c.apply(ctx, log, store.Effect{Consumer: Group, EventID: e.ID, Notification: n, Deliver: c.deliver})
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.fail(ctx, log, entry, e.Type, err)
		return nil
	}
	if err = c.stream.XAck(ctx, event.OrderStream, Group, entry.ID).Err(); err != nil {
		return fmt.Errorf("acknowledging entry %s: %w", entry.ID, err)
	}
	c.metrics.handled(e.Type, result)
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
	return c.tracer.Start(ctx, "process "+event.OrderStream, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(trace.LinkFromContext(ctx)))
}

// read reads an entry, and what it is to become if its type is known. What the
// entry makes fail here, it alone is to blame for, and a panic is no exception.
func read(entry goredis.XMessage) (e event.Event, n notification.Notification, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v\n%s", value, debug.Stack())
		}
	}()
	if e, err = event.Parse(entry.Values); err == nil && notification.Known(e.Type) {
		n, err = notification.From(e)
	}
	return e, n, err
}

// apply applies the effect of an event. It tries for as long as it isn't done
// and the event isn't to blame, or until ctx is done.
func (c *Consumer) apply(ctx context.Context, log *slog.Logger, effect store.Effect) (outcome, error) {
	for failures := 1; ; failures++ {
		applied, err := c.try(ctx, effect)
		switch {
		case err == nil && applied:
			return handled, nil
		case err == nil:
			return duplicate, nil
		case ctx.Err() != nil || refused(err):
			return "", err
		}
		if failures == 1 {
			log.WarnContext(ctx, "events wait for the database", "cause", err)
		}
		c.retry.Wait(ctx, failures)
	}
}

func (c *Consumer) try(ctx context.Context, effect store.Effect) (applied bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return c.store.Apply(ctx, effect)
}

// refused reports whether the database has answered and won't take what the
// event says. That is the only failure of the database that an event is to
// blame for. Whether postgres.Failure calls it unavailable wouldn't do: a
// missing table isn't that, and no event's fault either.
func refused(err error) bool {
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
	verdict, err := c.bury.Run(ctx, c.stream, []string{event.OrderStream, event.DeadLetters},
		Group, entry.ID, maxDeliveries, maxDeadLetters, reason, time.Now().UTC().Format(time.RFC3339Nano)).Int64Slice()
	if err != nil {
		log.WarnContext(ctx, "event failed, and how often is not known", "stream", err)
		return
	}
	log = log.With("deliveries", verdict[0])
	if isDead := verdict[1] == 1; !isDead {
		log.WarnContext(ctx, "event failed and will be tried again")
		return
	}
	c.metrics.handled(t, dead)
	log.ErrorContext(ctx, "event is dead: it lies in "+event.DeadLetters)
}
