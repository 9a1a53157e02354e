package outbox

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
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
	"platform.example/apps/internal/redis"
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
	// replicationTimeout is how long a replica may take to confirm a batch.
	replicationTimeout = time.Second
	// roundTimeout limits a round, which goes on after ctx is done.
	roundTimeout = 8 * time.Second
)

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
	backoff.Store.Repeat(ctx, r.log, "events are not published right now", func() error {
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

//go:embed publish.lua
var publishScript string
var publish = goredis.NewScript(publishScript)

// lostError reports that the stream has lost the entries after last.
type lostError struct {
	stream      event.Stream
	last, known position
}

func (e *lostError) Error() string {
	return fmt.Sprintf("the stream %s has lost its entries after %s: it had an entry %s", e.stream, e.last, e.known)
}

// publish adds events to the stream and returns their positions. If Redis refuses some events, publish
// returns the zero position for them, and an error. If the last id of the stream is below known, publish adds
// nothing and fails with *lostError. If the stream has replicas and none confirms the events, publish fails: a
// failover could lose them.
func (r *Relay) publish(ctx context.Context, known position, events []event.Event) ([]position, error) {
	arguments := []any{known.ms, known.seq, 0}
	for _, e := range events {
		fields := r.outbox.Stream.Fields(e)
		arguments[2] = len(fields)
		arguments = append(arguments, fields...)
	}
	connection := r.stream.Conn() // WAIT is about the writes of its connection
	defer func() { _ = connection.Close() }()
	reply, err := publish.Run(ctx, connection, []string{string(r.outbox.Stream)}, arguments...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("publishing to %s: %w", r.outbox.Stream, err)
	}
	last, err := parsePosition(reply[0])
	if err != nil {
		return nil, err
	}
	if last.compare(known) < 0 {
		return nil, &lostError{r.outbox.Stream, last, known}
	}
	if len(events) > 0 && redis.Replicated(r.stream) {
		if replicas, err := connection.Wait(ctx, 1, replicationTimeout).Result(); err != nil || replicas == 0 {
			return nil, fmt.Errorf("publishing to %s: waiting for a replica: %w", r.outbox.Stream, cmp.Or(err, context.DeadlineExceeded))
		}
	}
	positions := make([]position, len(events))
	var refused error
	for i, added := range reply[1:] {
		if positions[i], err = parsePosition(added); err != nil {
			refused = fmt.Errorf("publishing event %s: %s", events[i].ID, added)
		}
	}
	return positions, refused
}

// position is the id of a stream entry. Redis builds it from its clock and a counter; it never decreases
// while Redis keeps the stream.
type position struct{ ms, seq int64 }

func (p position) String() string { return fmt.Sprintf("%d-%d", p.ms, p.seq) }

func (p position) compare(other position) int {
	return cmp.Or(cmp.Compare(p.ms, other.ms), cmp.Compare(p.seq, other.seq))
}

func parsePosition(raw string) (p position, err error) {
	if _, err = fmt.Sscanf(raw, "%d-%d", &p.ms, &p.seq); err != nil || p.String() != raw {
		return position{}, fmt.Errorf("%q is not the id of a stream entry", raw)
	}
	return p, nil
}
