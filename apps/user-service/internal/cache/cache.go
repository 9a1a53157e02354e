// Package cache answers who a user is from Redis where it can, else from the
// database (cache-aside).
//
// How stale an answer may be after a write that was answered:
//   - never, on the replica that wrote;
//   - on others, as long as a read that had begun before the write may take
//     (loadTimeout, 2 s), and only for those who joined that very read;
//   - up to ttl (300 s), where Redis could not be reached to be told of the write.
//
// A replica that is killed between the commit and telling Redis leaves what is
// up to ttl old, of a write that it hasn't answered.
package cache

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"platform.example/apps/internal/problem"
	"platform.example/apps/user-service/internal/user"
)

const (
	ttl       = 300 * time.Second
	ttlJitter = ttl / 10 // keys written together don't expire together
	// absentTTL is short: it only has to take the edge off a flood of requests
	// for what isn't there.
	absentTTL   = 5 * time.Second
	loadTimeout = 2 * time.Second // fill included
	// unsureTimeout bounds the wait for a Redis that has just failed.
	unsureTimeout = 250 * time.Millisecond
	// markTTL outlives every load that may have read what was there before the write.
	markTTL = loadTimeout + 3*time.Second
)

// Users looks users up.
type Users struct {
	redis *goredis.Client
	load  func(context.Context, uuid.UUID) (user.User, error)
	log   *slog.Logger
	put   *goredis.Script

	loads                singleflight.Group // one query per key and process, however many ask
	guard                guard
	hits, misses, spared prometheus.Counter
}

// New returns a cache in front of load, which fails with problem.NotFound
// where there is no such user.
func New(redis *goredis.Client, load func(context.Context, uuid.UUID) (user.User, error),
	log *slog.Logger, registry prometheus.Registerer) *Users {
	counter := func(name, help string) prometheus.Counter {
		return promauto.With(registry).NewCounter(prometheus.CounterOpts{Name: "user_service_cache_" + name, Help: help})
	}
	return &Users{
		redis: redis, load: load, log: log, put: goredis.NewScript(putScript), guard: guard{now: time.Now},
		hits:   counter("hits_total", "Users answered from the cache, known absences included."),
		misses: counter("misses_total", "Users that the cache could not answer."),
		spared: counter("spared_total", "Misses for which the cache was not asked, because it had not answered before."),
	}
}

//go:embed put.lua
var putScript string

func key(id uuid.UUID) string { return "user:" + id.String() }

// Get returns a user as JSON with its version, and whether the cache knew. It fails as load
// does; a Redis that fails is merely a miss. It takes no longer than the
// timeout of Redis and loadTimeout together, whatever the deadline of ctx.
func (c *Users) Get(ctx context.Context, id uuid.UUID) (u json.RawMessage, version int64, hit bool, err error) {
	known, redisAnswers := c.lookup(ctx, id)
	if known != nil {
		c.hits.Inc()
		u, err = known.answer()
		return u, known.version, true, err
	}
	c.misses.Inc()
	// The load belongs to all who wait for it, not to the request that began it.
	shared := context.WithoutCancel(ctx)
	result := c.loads.DoChan(id.String(), func() (any, error) { return c.read(shared, id, redisAnswers) })
	select {
	case <-ctx.Done():
		return nil, 0, false, fmt.Errorf("waiting for the user to be loaded: %w", ctx.Err())
	case r := <-result:
		if r.Err != nil {
			return nil, 0, false, r.Err
		}
		loaded := r.Val.(*entry)
		u, err = loaded.answer()
		return u, loaded.version, false, err
	}
}

// Invalidate forgets a user whose write to version was committed; a deleted
// one with Deleted as the version. It must end before the write is answered.
func (c *Users) Invalidate(ctx context.Context, id uuid.UUID, version int64) {
	// The write is done whether or not the client still waits.
	ctx = context.WithoutCancel(ctx)
	if err := c.store(ctx, id, &entry{version: version}, markTTL); err != nil {
		c.log.ErrorContext(ctx, "the cache was not told of a write", "stale_for_at_most", ttl, "cause", err)
	}
	// Who asks from now on doesn't join a read that may have seen what was before.
	c.loads.Forget(id.String())
}

// Deleted is the version of a user that is no more: no load can be newer. It
// is the largest integer that Lua, in Redis, reads exactly.
const Deleted int64 = 1 << 53

// lookup returns what the cache knows of a user, nil for nothing, and whether
// Redis answers at all.
func (c *Users) lookup(ctx context.Context, id uuid.UUID) (known *entry, redisAnswers bool) {
	if !c.guard.asks() {
		c.spared.Inc()
		return nil, false
	}
	if c.guard.failures.Load() > 0 { // there may be no connection: dialling takes longer than a request waits
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, unsureTimeout)
		defer cancel()
	}
	raw, err := c.redis.Get(ctx, key(id)).Bytes()
	if err != nil && !errors.Is(err, goredis.Nil) {
		if !errors.Is(err, context.Canceled) { // a client that left says nothing of Redis
			c.guard.failed()
		}
		// Not louder: it is so for every request, and readiness says it once a check.
		c.log.DebugContext(ctx, "the cache does not answer", "cause", err)
		return nil, false
	}
	c.guard.answered()
	if err != nil {
		return nil, true
	}
	found, ok := decode(raw)
	if !ok {
		c.log.ErrorContext(ctx, "the cache holds what is no entry")
	}
	if !ok || !found.answers() { // else the mark of a write
		return nil, true
	}
	return &found, true
}

// read loads a user and fills the cache; where Redis has just failed it is
// spared, so that the timeout is paid once.
func (c *Users) read(ctx context.Context, id uuid.UUID, redisAnswers bool) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if redisAnswers {
		// Another read may have ended between the lookup and now.
		if known, _ := c.lookup(ctx, id); known != nil {
			return known, nil
		}
	}
	loaded, life, err := c.loaded(ctx, id)
	if err != nil {
		return nil, err
	}
	if redisAnswers {
		if err := c.store(ctx, id, loaded, life); err != nil {
			c.log.DebugContext(ctx, "the cache could not be filled", "cause", err)
		}
	}
	return loaded, nil
}

// loaded returns what load says, and how long that may be kept.
func (c *Users) loaded(ctx context.Context, id uuid.UUID) (e *entry, life time.Duration, err error) {
	u, err := c.load(ctx, id)
	if failed, ok := errors.AsType[*problem.Error](err); ok && failed.Code == problem.NotFound {
		return &entry{absent: true}, absentTTL, nil
	}
	if err != nil {
		return nil, 0, err
	}
	e, err = newEntry(u)
	return e, ttl - rand.N(ttlJitter), err
}

// store puts e unless something newer is there: reads and writes may reach
// Redis in another order than they reached the database.
func (c *Users) store(ctx context.Context, id uuid.UUID, e *entry, life time.Duration) error {
	return c.put.Run(ctx, c.redis, []string{key(id)}, e.version, e.encode(), life.Milliseconds()).Err()
}
