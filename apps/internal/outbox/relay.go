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
	// batchSize is large enough that the way to Redis and the commit are shared
	// by many, and small enough that Redis, which does nothing else meanwhile,
	// is held up for about a millisecond.
	batchSize = 100
	// pollInterval is how long an event waits that was written by another
	// process, or by this one right before it died.
	pollInterval = 500 * time.Millisecond
	// checkInterval is how soon a loss is noticed where nothing is published.
	checkInterval = 5 * time.Second
	// roundTimeout bounds a round, which ends in its own time once it has begun.
	roundTimeout = 8 * time.Second
)

// retry is while the database or Redis is away.
var retry = backoff.Policy{Base: 100 * time.Millisecond, Max: 5 * time.Second}

// Relay publishes events. Any number of relays may run at once, in any number
// of processes.
type Relay struct {
	outbox  Outbox
	pool    *pgxpool.Pool
	stream  *goredis.Client
	log     *slog.Logger
	script  *goredis.Script
	metrics *metrics
	tracer  trace.Tracer // nil: there are no spans

	wake    chan struct{}
	checked time.Time // when the stream was last seen to be whole; only Run uses it
}

// NewRelay returns a relay from the outbox in the database of pool to the stream.
func NewRelay(o Outbox, pool *pgxpool.Pool, stream *goredis.Client, log *slog.Logger, registry prometheus.Registerer, tracer trace.Tracer) *Relay {
	return &Relay{
		outbox: o, pool: pool, stream: stream, log: log, script: goredis.NewScript(publishScript),
		metrics: newMetrics(o, pool, registry), tracer: tracer, wake: make(chan struct{}, 1),
	}
}

// Wake tells the relay that there is a new event. It never waits.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // it has been told already
	}
}

// Run publishes until ctx is done. While the database or Redis is away it tries
// less and less often.
func (r *Relay) Run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		told, err := r.round(ctx)
		if lost, ok := errors.AsType[*lostError](err); ok {
			err = r.retell(ctx, lost)
		}
		switch {
		case err != nil:
			if failures++; failures == 1 {
				r.log.Warn("events are not published right now", "cause", err)
			}
			retry.Wait(ctx, failures)
			continue
		case failures > 0:
			r.log.Info("events are published again")
		}
		failures = 0
		if told == 0 {
			r.idle(ctx)
		}
	}
}

// idle waits for a new event, or until it is time to look for one.
func (r *Relay) idle(ctx context.Context) {
	timer := time.NewTimer(pollInterval + rand.N(pollInterval/5))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-timer.C:
	}
}

// round publishes one batch. What has been begun is ended even if ctx is done
// meanwhile, since what is published and not noted would be published twice.
func (r *Relay) round(ctx context.Context) (told int, err error) {
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
		ctx, span := r.begin(ctx, next.events)
		defer func() { telemetry.Finish(span, cmp.Or(err, refused)) }()
		var positions []position
		if positions, refused = r.publish(ctx, known, next.events); positions == nil {
			return refused
		}
		r.checked = time.Now()
		told, err = r.outbox.note(ctx, tx, next.ids, positions)
		if err != nil {
			return err
		}
		r.metrics.count(next.events, positions)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return told, refused
}

// begin begins the span of a batch. It is linked to the requests that caused the
// events; it can't be a part of all of them.
func (r *Relay) begin(ctx context.Context, events []event.Event) (context.Context, trace.Span) {
	if r.tracer == nil || len(events) == 0 {
		return ctx, noop.Span{}
	}
	links := make([]trace.Link, len(events))
	for i, e := range events {
		links[i] = trace.LinkFromContext(e.Within(context.Background()))
	}
	return r.tracer.Start(ctx, "publish "+string(r.outbox.Stream), trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(links...))
}
