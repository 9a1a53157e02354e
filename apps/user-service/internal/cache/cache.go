// Package cache reads users from Redis, and from the database if Redis doesn't have them (cache-aside).
//
// How stale a read may be after the response to a write:
//   - never, on the replica that wrote;
//   - on other replicas, for the duration of a load that began before the write (loadTimeout, 2 s), and only
//     for requests that share that load;
//   - for up to ttl (300 s), if the write could not be reported to Redis.
//
// If a replica is killed between its commit and the report to Redis, reads may be stale for up to ttl. That
// write had no response.
package cache

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"platform.example/apps/internal/breaker"
	"platform.example/apps/internal/problem"
	"platform.example/apps/user-service/internal/user"
)

const (
	ttl       = 300 * time.Second
	ttlJitter = ttl / 10 // keys written together don't expire together
	// absentTTL is short: it only absorbs bursts of requests for users that don't exist.
	absentTTL   = 5 * time.Second
	loadTimeout = 2 * time.Second // includes filling the cache
	// unsureTimeout limits a read from a Redis that has just failed.
	unsureTimeout = 250 * time.Millisecond
	// retryAfter is how long reads don't use a Redis that doesn't respond, until one of them tries again.
	retryAfter = time.Second
	// markTTL outlives every load that may have read the user before the write.
	markTTL = loadTimeout + 3*time.Second
)

// Users reads users through the cache.
type Users struct {
	redis *goredis.Client
	load  func(context.Context, uuid.UUID) (user.User, error)
	log   *slog.Logger

	loads singleflight.Group // one query per user and process at a time
	// breaker stops reads from Redis while it doesn't respond. Without it each read waits for the timeout, or for
	// one of the connections that all wait: 32 readers of a hung Redis got 300 responses per second without it, and
	// 8,000 with it.
	breaker              *breaker.Breaker
	hits, misses, spared prometheus.Counter
}

// New returns a cache in front of load, which fails with problem.NotFound if the user doesn't exist.
func New(redis *goredis.Client, load func(context.Context, uuid.UUID) (user.User, error),
	log *slog.Logger, registry prometheus.Registerer) *Users {
	counter := func(name, help string) prometheus.Counter {
		return promauto.With(registry).NewCounter(prometheus.CounterOpts{Name: "user_service_cache_" + name, Help: help})
	}
	return &Users{
		redis: redis, load: load, log: log, breaker: breaker.New("redis"),
		hits:   counter("hits_total", "Reads of users from the cache, including users known not to exist."),
		misses: counter("misses_total", "Reads of users that the cache didn't have."),
		spared: counter("spared_total", "Misses without a request to the cache, because it has not responded before."),
	}
}

//go:embed put.lua
var putScript string
var put = goredis.NewScript(putScript)

func key(id uuid.UUID) string { return "user:" + id.String() }

// Get returns a user as JSON with its version, and whether the cache had it. Its errors are those of load; a
// failure of Redis is only a miss. Independent of the deadline of ctx, it takes at most the timeout of Redis
// plus loadTimeout.
func (c *Users) Get(ctx context.Context, id uuid.UUID) (u json.RawMessage, version int64, hit bool, err error) {
	known, redisAvailable := c.lookup(ctx, id)
	if known != nil {
		c.hits.Inc()
		u, err = known.result()
		return u, known.version, true, err
	}
	c.misses.Inc()
	// All waiting requests share the load, so it must not end with the request that started it.
	shared := context.WithoutCancel(ctx)
	result := c.loads.DoChan(id.String(), func() (any, error) { return c.read(shared, id, redisAvailable) })
	select {
	case <-ctx.Done():
		return nil, 0, false, fmt.Errorf("waiting for the user to be loaded: %w", ctx.Err())
	case r := <-result:
		if r.Err != nil {
			return nil, 0, false, r.Err
		}
		loaded := r.Val.(*entry)
		u, err = loaded.result()
		return u, loaded.version, false, err
	}
}

// Invalidate replaces a cached user after the commit of a write with that version, or Deleted. Call it before
// sending the response to the write.
func (c *Users) Invalidate(ctx context.Context, id uuid.UUID, version int64) {
	// The write is committed even if the client has left.
	ctx = context.WithoutCancel(ctx)
	if err := c.store(ctx, id, &entry{version: version}, markTTL); err != nil {
		c.log.ErrorContext(ctx, "reporting a write to the cache failed", "stale_for_at_most", ttl, "cause", err)
	}
	// A later read must not share a load that may have read the user before the write.
	c.loads.Forget(id.String())
}

// Deleted is the version of a deleted user: no load has a higher one. It is the largest integer that Lua in
// Redis represents exactly.
const Deleted int64 = 1 << 53

// lookup returns the cached entry of a user, or nil, and whether Redis responds.
func (c *Users) lookup(ctx context.Context, id uuid.UUID) (known *entry, redisAvailable bool) {
	if allowed, _ := c.breaker.Allow(); !allowed {
		c.spared.Inc()
		return nil, false
	}
	if c.breaker.Failing() { // dialling a new connection may take longer than a request can wait
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, unsureTimeout)
		defer cancel()
	}
	raw, err := c.redis.Get(ctx, key(id)).Bytes()
	if err != nil && !errors.Is(err, goredis.Nil) {
		if !errors.Is(err, context.Canceled) || c.breaker.State() != breaker.Closed { // a client that left is no failure of Redis
			c.breaker.Failed()
			time.AfterFunc(retryAfter, c.breaker.Ready)
		}
		// Debug level: it happens for every request, and readiness reports it once per check.
		c.log.DebugContext(ctx, "the cache does not respond", "cause", err)
		return nil, false
	}
	c.breaker.Succeeded()
	if err != nil {
		return nil, true
	}
	found, ok := decode(raw)
	if !ok {
		c.log.ErrorContext(ctx, "the cache contains a malformed entry")
	}
	if !ok || !found.complete() { // the mark of a write is not complete
		return nil, true
	}
	return &found, true
}

// read loads a user and fills the cache. If Redis has just failed, read doesn't use it, so that the timeout
// passes only once.
func (c *Users) read(ctx context.Context, id uuid.UUID, redisAvailable bool) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if redisAvailable {
		// Another load may have ended after the lookup.
		if known, _ := c.lookup(ctx, id); known != nil {
			return known, nil
		}
	}
	loaded, life, err := c.loadEntry(ctx, id)
	if err != nil {
		return nil, err
	}
	if redisAvailable {
		if err := c.store(ctx, id, loaded, life); err != nil {
			c.log.DebugContext(ctx, "filling the cache failed", "cause", err)
		}
	}
	return loaded, nil
}

// loadEntry loads the entry of a user, and returns how long it may be cached.
func (c *Users) loadEntry(ctx context.Context, id uuid.UUID) (e *entry, life time.Duration, err error) {
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

// store caches e unless Redis has a newer entry: reads and writes may reach Redis in another order than the
// database.
func (c *Users) store(ctx context.Context, id uuid.UUID, e *entry, life time.Duration) error {
	return put.Run(ctx, c.redis, []string{key(id)}, e.version, e.encode(), life.Milliseconds()).Err()
}

// entry is the value of a key. It contains a user, or states that the user doesn't exist (absent), or is the
// mark of a write: older versions than version are outdated.
//
// Its forms in Redis are
//
//	{"version":7,"user":{…}}
//	{"version":0,"absent":true}
//	{"version":8}
//
// The user is the JSON of the response: decoding and encoding it again would double the cost of a hit.
type entry struct {
	version int64
	user    json.RawMessage
	absent  bool
}

func newEntry(u user.User) (*entry, error) {
	raw, err := json.Marshal(u)
	if err != nil {
		return nil, fmt.Errorf("encoding a user: %w", err)
	}
	return &entry{version: u.Version, user: raw}, nil
}

const (
	versionField = `{"version":`
	userField    = `,"user":`
	absentField  = `,"absent":true`
)

func (e *entry) encode() []byte {
	raw := strconv.AppendInt([]byte(versionField), e.version, 10)
	if e.user != nil {
		raw = append(append(raw, userField...), e.user...)
	}
	if e.absent {
		raw = append(raw, absentField...)
	}
	return append(raw, '}')
}

// decode reverses encode. It returns false if raw is malformed.
func decode(raw []byte) (e entry, ok bool) {
	rest, begins := bytes.CutPrefix(raw, []byte(versionField))
	rest, ends := bytes.CutSuffix(rest, []byte("}"))
	if !begins || !ends {
		return entry{}, false
	}
	version, content := rest, []byte(nil)
	if i := bytes.IndexByte(rest, ','); i >= 0 {
		version, content = rest[:i], rest[i:]
	}
	var err error
	if e.version, err = strconv.ParseInt(string(version), 10, 64); err != nil {
		return entry{}, false
	}
	switch u, isUser := bytes.CutPrefix(content, []byte(userField)); {
	case isUser && len(u) > 0 && u[0] == '{':
		if hasAllFields(u) {
			e.user = u
		}
	case string(content) == absentField:
		e.absent = true
	case len(content) > 0:
		return entry{}, false
	}
	return e, true
}

// hasAllFields reports whether u has all fields of a user. The previous release may have cached users with
// fewer fields.
func hasAllFields(u []byte) bool {
	for _, field := range fields() {
		if !bytes.Contains(u, field) {
			return false
		}
	}
	return true
}

// fields returns the JSON keys of a user, such as "name":.
var fields = sync.OnceValue(func() (names [][]byte) {
	for f := range reflect.TypeFor[user.User]().Fields() {
		names = append(names, []byte(strconv.Quote(f.Tag.Get("json"))+":"))
	}
	return names
})

// complete reports whether the entry contains a user or states that there is none.
func (e *entry) complete() bool { return e.absent || e.user != nil }

func (e *entry) result() (json.RawMessage, error) {
	if e.absent {
		return nil, problem.New(problem.NotFound, "There is no such user.", nil)
	}
	return e.user, nil
}
