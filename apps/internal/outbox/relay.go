package outbox

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"platform.example/apps/internal/backoff"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/telemetry"
)

const (
	// batchSize is large enough to share the round trip to Redis and the commit among many events, and small
	// enough to block Redis for only about a millisecond.
	batchSize = 100
	// pollInterval is how long an event waits that another process wrote, or that this process wrote just
	// before it died.
	pollInterval = 500 * time.Millisecond
	// checkInterval is how soon the relay detects a loss while it publishes nothing.
	checkInterval = 5 * time.Second
	// roundTimeout limits a round, which goes on after ctx is done.
	roundTimeout = 8 * time.Second
)

// retry is the policy while the database or Redis is unavailable.
var retry = backoff.Policy{Base: 100 * time.Millisecond, Max: 5 * time.Second}

// Relay publishes the events of an outbox. Several relays may run at the same time, in any number of
// processes.
type Relay struct {
	outbox  Outbox
	pool    *pgxpool.Pool
	stream  *goredis.Client
	log     *slog.Logger
	metrics *metrics
	tracer  trace.Tracer

	wake    chan struct{}
	checked time.Time // when the stream was last complete; only Run uses it
}

// NewRelay returns a relay that publishes the outbox o in the database of pool to stream.
func NewRelay(o Outbox, pool *pgxpool.Pool, stream *goredis.Client, log *slog.Logger, registry prometheus.Registerer, tracer trace.Tracer) *Relay {
	return &Relay{
		outbox: o, pool: pool, stream: stream, log: log,
		metrics: newMetrics(o, pool, registry), tracer: tracer, wake: make(chan struct{}, 1),
	}
}

// Wake notifies the relay of a new event. It never blocks.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // a notification is pending
	}
}

// Run publishes events until ctx is done. While the database or Redis is unavailable, it retries at growing
// intervals.
func (r *Relay) Run(ctx context.Context) {
	retry.Repeat(ctx, r.log, "events are not published right now", func() error {
		published, err := r.round(ctx)
		if lost, ok := errors.AsType[*lostError](err); ok {
			err = r.requeueLost(ctx, lost)
		}
		if err == nil && published == 0 {
			r.idle(ctx)
		}
		return err
	})
}

// idle waits for a notification or for the next poll.
func (r *Relay) idle(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-time.After(pollInterval + rand.N(pollInterval/5)):
	}
}

// round publishes one batch. It goes on after ctx is done, because an event that is published but not marked
// is published twice.
func (r *Relay) round(ctx context.Context) (published int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundTimeout)
	defer cancel()
	var refused error
	err = pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) (err error) {
		known, next, err := r.outbox.take(ctx, tx)
		if err != nil {
			return err
		}
		if len(next.events) == 0 && time.Since(r.checked) < checkInterval {
			return nil
		}
		ctx, span := r.startSpan(ctx, next.events)
		defer func() { telemetry.Finish(span, cmp.Or(err, refused)) }()
		var positions []position
		if positions, refused = r.publish(ctx, known, next.events); positions == nil {
			return refused
		}
		r.checked = time.Now()
		published, err = r.outbox.markPublished(ctx, tx, next.ids, positions)
		if err != nil {
			return err
		}
		r.metrics.count(next.events, positions)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return published, refused
}

// startSpan starts the span of a batch. The span has links to the requests that caused the events; it can't
// be a child of all of them.
func (r *Relay) startSpan(ctx context.Context, events []event.Event) (context.Context, trace.Span) {
	if len(events) == 0 {
		return ctx, noop.Span{}
	}
	links := make([]trace.Link, len(events))
	for i, e := range events {
		links[i] = trace.LinkFromContext(e.Within(context.Background()))
	}
	return r.tracer.Start(ctx, "publish "+string(r.outbox.Stream), trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(links...))
}
