// Package consumer handles the events of a stream, each exactly once in effect.
//
// Redis delivers at least once: an entry stays pending for the group until it
// is acknowledged, which happens only after its effect is committed. What is
// delivered again, for whatever reason, is known by its id in the service's
// table handled_events and has no second effect.
//
// What becomes of an entry that can't be handled depends on whose fault it is:
//
//   - The entry's own (it is no event, or the database refuses what it says):
//     it is left pending, so that those behind it flow on, and is delivered
//     again once it is stale. At its fifth delivery it goes to the dead letters.
//   - Anybody else's (the database is away, its schema is another): the
//     consumer waits and tries again in place, for as long as it takes.
//
// An outage can therefore lose nothing. Replicas that restart meanwhile take
// over what the others left, and each takeover raises the count of deliveries
// beyond five; but the count alone condemns nothing. Dead is only what has just
// failed by its own fault, and that can't be told before the database has
// answered: the first try with a healthy database comes before any verdict.
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

// Effect is what an event leaves in the database of the service.
type Effect func(ctx context.Context, db postgres.Execer) error

// Definition states what a consumer handles.
type Definition struct {
	Service string       // whose consumer it is; metrics have its name
	Stream  event.Stream // whose events
	// Group is the name of the consumer group, and of the consumer in handled_events.
	Group string
	// Handle returns the effect of an event of one of the Types. It fails where the event can't be true.
	Handle func(event.Event) (Effect, error)
	Types  []event.Type
	// Idempotent is for effects that may be repeated, and take long: a minute. They run outside of a transaction. What has
	// been done stays where one fails; an event is remembered afterwards.
	Idempotent bool
	// Discard drops events that can't be handled, in place of keeping them as dead letters.
	Discard bool
	// StaleAfter is how long an entry may be in hand before its consumer is taken for dead; 0: 30 s, or 2 min where Idempotent.
	StaleAfter time.Duration
}

// staleAfter is how long an entry may be in hand before its consumer is taken
// for dead: well above the time that a try with a healthy database may take.
const staleAfter = 30 * time.Second

const (
	// Few enough that a consumer that stops hands back little, enough that the
	// way to Redis is no cost beside the commits.
	batchSize = 16
	// While it waits for entries a consumer doesn't notice that it is to stop.
	blockTime = 250 * time.Millisecond
	// A Redis that hasn't answered by then hangs; the time to block comes on top.
	answerTimeout = 2 * time.Second
	// What is handed back on the way out is only a courtesy: it would be claimed anyway.
	handBackTimeout = time.Second
)

// Consumer handles events for one replica.
type Consumer struct {
	Definition
	limit   time.Duration // of a try
	batch   int64         // entries in hand at once
	redis   *goredis.Client
	pool    *pgxpool.Pool
	log     *slog.Logger
	metrics *metrics
	tracer  trace.Tracer // nil: there are no spans

	name   string // within the group; one of its own in every process
	retry  backoff.Policy
	bury   *goredis.Script
	remove *goredis.Script
	cursor string // how far the search for stale entries has come
}

// New returns the consumer that d defines, with its effects in the database of pool.
func New(d Definition, stream *goredis.Client, pool *pgxpool.Pool, log *slog.Logger, registry prometheus.Registerer, tracer trace.Tracer) *Consumer {
	limit, batch, stale := tryTimeout, int64(batchSize), staleAfter
	if d.Idempotent {
		limit, batch, stale = longTimeout, 1, 2*longTimeout
	}
	d.StaleAfter = cmp.Or(d.StaleAfter, stale)
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // it is for people to read; the random part makes the name unique
	}
	return &Consumer{
		Definition: d, limit: limit, batch: batch, redis: stream, pool: pool, log: log.With("consumer", d.Group), metrics: newMetrics(d, registry), tracer: tracer,
		name:  host + "-" + rand.Text()[:8],
		retry: backoff.Policy{Base: 100 * time.Millisecond, Max: 5 * time.Second},
		bury:  goredis.NewScript(buryScript), remove: goredis.NewScript(removeScript),
		cursor: firstID,
	}
}

const firstID = "0-0"

// Run handles events until ctx is done. It then takes no other, and gives back
// those that it has not handled. It returns when ctx is done and not before,
// however Redis and the database are.
func (c *Consumer) Run(ctx context.Context) {
	for failures := 1; ctx.Err() == nil; failures++ {
		rounds, err := c.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if rounds > 0 {
			failures = 1
		}
		if failures == 1 {
			c.log.Warn("the stream is not available right now", "stream", c.Stream, "cause", err)
		}
		c.retry.Wait(ctx, failures)
	}
}

// follow handles entries, stale and new ones in turns, until something fails.
func (c *Consumer) follow(ctx context.Context) (rounds int, err error) {
	if err := c.join(ctx); err != nil {
		return 0, err
	}
	for ; ; rounds++ {
		more, err := c.handleStale(ctx)
		if err != nil {
			return rounds, err
		}
		if err := c.handleNew(ctx, !more); err != nil {
			return rounds, err
		}
	}
}

// join makes the group if it is missing: at the first start, and after a Redis
// that has lost everything. It begins with the oldest entry that there is, which
// at worst is handled already.
func (c *Consumer) join(ctx context.Context) error {
	err := c.redis.XGroupCreateMkStream(ctx, string(c.Stream), c.Group, firstID).Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return fmt.Errorf("joining the group: %w", err)
	}
	return nil
}

// handleStale handles a batch of what others, or this one, have left pending.
// It reports whether there may be more.
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

// handleNew handles a batch of what nobody has been given yet. If it may wait,
// it waits for some.
func (c *Consumer) handleNew(ctx context.Context, wait bool) error {
	block := time.Duration(-1)
	if wait {
		block = blockTime
	}
	// The client itself would give a blocking command 10 s on top.
	bounded, cancel := context.WithTimeout(ctx, blockTime+answerTimeout)
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

// handBack makes entries stale, so that another consumer takes them at once.
func (c *Consumer) handBack(ctx context.Context, entries []goredis.XMessage) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handBackTimeout)
	defer cancel()
	args := []any{"XCLAIM", string(c.Stream), c.Group, c.name, 0}
	for _, entry := range entries {
		args = append(args, entry.ID)
	}
	args = append(args, "IDLE", c.StaleAfter.Milliseconds(), "JUSTID") // go-redis has no IDLE
	if err := c.redis.Do(ctx, args...).Err(); err != nil {
		c.log.Warn("entries could not be handed back: they are claimed once they are stale", "entries", len(entries), "cause", err)
	}
}
