// Package consumer handles the events of a stream, each exactly once in effect.
//
// Redis delivers at least once: an entry stays pending for the group until the consumer acknowledges it,
// after the effect is committed. The table handled_events of the service contains the ids of handled events;
// an event that is delivered again has no second effect.
//
// If an entry can't be handled, the next step depends on the cause:
//
//   - The entry itself is invalid, or the database refuses its data. The entry stays pending, the consumer goes
//     on with the next one, and the entry is delivered again once it is stale. After its fifth delivery it
//     becomes a dead letter.
//   - Anything else failed, such as the database or its schema. The consumer retries the entry in place until
//     it succeeds.
//
// An outage therefore loses no event. Replicas that restart during an outage claim the entries of others,
// which raises the delivery count above five. The count alone makes no dead letter: an entry becomes one only
// when it has just failed by its own fault, which requires a response of the database.
package consumer

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"platform.example/apps/internal/backoff"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
)

// Effect writes the result of an event to the service's database.
type Effect func(ctx context.Context, db postgres.DB) error

// Definition states which events a consumer handles, and how.
type Definition struct {
	Service string       // the owner of the consumer; metrics are named after it
	Stream  event.Stream // the source of the events
	// Group is the name of the consumer group, and of the consumer in handled_events.
	Group string
	// Handle returns the effect of an event of one of the Types. It fails if the event is invalid.
	Handle func(event.Event) (Effect, error)
	Types  []event.Type
	// Idempotent is for effects that may be repeated and take up to a minute. They run outside of a
	// transaction: what an effect did before it failed stays done. The event is recorded as handled
	// afterwards.
	Idempotent bool
	// Discard drops events that can't be handled, instead of keeping them as dead letters.
	Discard bool
	// StaleAfter is how long an entry may be in flight before its consumer counts as dead. 0 means 30 s, or 2
	// min if Idempotent.
	StaleAfter time.Duration
}

// staleAfter is the default of StaleAfter: well above the time of a try with a healthy database.
const staleAfter = 30 * time.Second

const (
	// Small enough that a stopping consumer hands back few entries, large enough that the round trip to Redis
	// costs little compared with the commits.
	batchSize = 16
	// Short, because a consumer that waits for entries doesn't notice that it must stop.
	blockTime = 250 * time.Millisecond
	// A Redis that hasn't responded by then hangs. blockTime comes on top.
	responseTimeout = 2 * time.Second
	// Handing entries back at the stop only saves time: other consumers claim them anyway.
	handBackTimeout = time.Second
)

// Consumer handles events in one replica.
type Consumer struct {
	Definition
	limit   time.Duration // of a try
	batch   int64         // entries in flight at once
	redis   *goredis.Client
	pool    *pgxpool.Pool
	log     *slog.Logger
	metrics *metrics
	tracer  trace.Tracer

	name   string // within the group; unique for each process
	cursor string // position of the search for stale entries
}

// New returns the consumer that d defines. Its effects write to the database of pool.
func New(d Definition, stream *goredis.Client, pool *pgxpool.Pool, log *slog.Logger, registry prometheus.Registerer, tracer trace.Tracer) *Consumer {
	limit, batch, stale := tryTimeout, int64(batchSize), staleAfter
	if d.Idempotent {
		limit, batch, stale = longTimeout, 1, 2*longTimeout
	}
	d.StaleAfter = cmp.Or(d.StaleAfter, stale)
	host, _ := os.Hostname() // only for people; the random part makes the name unique
	return &Consumer{
		Definition: d, limit: limit, batch: batch, redis: stream, pool: pool, log: log.With("consumer", d.Group), metrics: newMetrics(d, registry), tracer: tracer,
		name:   cmp.Or(host, "unknown") + "-" + rand.Text()[:8],
		cursor: firstID,
	}
}

const firstID = "0-0"

// Run handles events until ctx is done, whether or not Redis and the database are available. It then hands
// back the entries that it has not handled.
func (c *Consumer) Run(ctx context.Context) {
	joined := false
	backoff.Store.Repeat(ctx, c.log.With("stream", c.Stream), "the stream is not available right now", func() (err error) {
		if !joined {
			err = c.join(ctx)
		}
		var more bool
		if err == nil {
			more, err = c.handleStale(ctx)
		}
		if err == nil {
			err = c.handleNew(ctx, !more)
		}
		joined = err == nil
		return err
	})
}

// join creates the group if it is missing: at the first start, or after Redis has lost its data. The group
// begins with the oldest entry, which at worst is handled already.
func (c *Consumer) join(ctx context.Context) error {
	err := c.redis.XGroupCreateMkStream(ctx, string(c.Stream), c.Group, firstID).Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return fmt.Errorf("joining the group: %w", err)
	}
	return nil
}

// handleStale handles a batch of entries that consumers have left pending. It reports whether there may be
// more.
func (c *Consumer) handleStale(ctx context.Context) (more bool, err error) {
	entries, cursor, err := c.redis.XAutoClaim(ctx, &goredis.XAutoClaimArgs{
		Stream: string(c.Stream), Group: c.Group, Consumer: c.name,
		MinIdle: c.StaleAfter, Start: c.cursor, Count: c.batch,
	}).Result()
	if err != nil {
		return false, fmt.Errorf("claiming stale entries: %w", err)
	}
	c.cursor = cursor
	return cursor != firstID, c.handleAll(ctx, entries)
}

// handleNew handles a batch of entries that were not delivered yet. If wait is true, it waits for them up to
// blockTime.
func (c *Consumer) handleNew(ctx context.Context, wait bool) error {
	block := time.Duration(-1)
	if wait {
		block = blockTime
	}
	// go-redis itself adds 10 s to the time of a blocking command.
	bounded, cancel := context.WithTimeout(ctx, blockTime+responseTimeout)
	defer cancel()
	streams, err := c.redis.XReadGroup(bounded, &goredis.XReadGroupArgs{
		Group: c.Group, Consumer: c.name, Streams: []string{string(c.Stream), ">"}, Count: c.batch, Block: block,
	}).Result()
	if errors.Is(err, goredis.Nil) {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("reading the stream: %w", err)
	}
	return c.handleAll(ctx, streams[0].Messages)
}

func (c *Consumer) handleAll(ctx context.Context, entries []goredis.XMessage) error {
	for i, entry := range entries {
		if err := c.handle(ctx, entry); err != nil {
			c.handBack(ctx, entries[i:])
			return err
		}
	}
	return ctx.Err()
}

// handBack makes entries stale, so that another consumer claims them at once.
func (c *Consumer) handBack(ctx context.Context, entries []goredis.XMessage) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handBackTimeout)
	defer cancel()
	args := []any{"XCLAIM", string(c.Stream), c.Group, c.name, 0}
	for _, entry := range entries {
		args = append(args, entry.ID)
	}
	args = append(args, "IDLE", c.StaleAfter.Milliseconds(), "JUSTID") // go-redis has no IDLE
	if err := c.redis.Do(ctx, args...).Err(); err != nil {
		c.log.Warn("handing entries back failed: other consumers claim them once they are stale", "entries", len(entries), "cause", err)
	}
}
