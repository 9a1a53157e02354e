package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/redis"
)

const (
	deadline = 30 * time.Second
	service  = "notification-service"
)

const group = service

func definition(staleAfter time.Duration) Definition {
	return Definition{Service: service, Stream: event.Orders, Group: group, Handle: handle, Types: []event.Type{event.OrderCreated}, StaleAfter: staleAfter}
}

// handle adds a notification.
func handle(e event.Event) (Effect, error) {
	o, err := event.Data[event.Order](e)
	if err == nil && o.Currency != "EUR" {
		err = errors.New("want EUR")
	}
	return func(ctx context.Context, db postgres.DB) error {
		_, err := db.Exec(ctx, "INSERT INTO notifications (id, user_id, type, title, body, order_id) VALUES ($1, $2, $3, '', '', $4)",
			e.ID, o.UserID, e.Type, o.ID)
		return err
	}, err
}

// platform holds a real Postgres and Redis for consumers.
type platform struct {
	t        *testing.T
	postgres *backingtest.Postgres
	pool     *pgxpool.Pool
	env      *config.Env
	stream   *goredis.Client // of the test
	tracer   trace.Tracer
}

func newPlatform(t *testing.T) *platform {
	t.Helper()
	database, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	env := config.From(func(name string) (string, bool) {
		if value, ok := database.Env()[name]; ok {
			return value, true
		}
		value, ok := stream.Env(service)[name]
		return value, ok
	})
	log := slog.New(slog.DiscardHandler)
	at := postgres.ReadConfig(env)
	if err := errors.Join(env.Err(), postgres.Migrate(t.Context(), at, os.DirFS("../../notification-service/migrations"), log)); err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Connect(t.Context(), at, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	client := stream.Client()
	t.Cleanup(func() { _ = client.Close() })
	return &platform{t: t, postgres: database, pool: pool, env: env, stream: client, tracer: noop.Tracer{}}
}

// fresh empties both stores and returns the platform for a subtest.
func (p *platform) fresh(t *testing.T) *platform {
	t.Helper()
	_, err := p.pool.Exec(t.Context(), "TRUNCATE notifications, handled_events, webhook_deliveries")
	if err := errors.Join(err, p.stream.FlushAll(t.Context()).Err()); err != nil {
		t.Fatal(err)
	}
	emptied := *p
	emptied.t = t
	return &emptied
}

// run runs a consumer, as a replica does, until the returned function is called.
func (p *platform) run(staleAfter time.Duration) (stop func()) {
	return p.runAs(definition(staleAfter))
}

func (p *platform) runAs(d Definition) (stop func()) {
	log, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	client := redis.Open(redis.ReadStream(p.env), log, registry)
	c := New(d, client, p.pool, log, registry, p.tracer)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	stop = func() { cancel(); <-ended; _ = client.Close() }
	p.t.Cleanup(stop)
	return stop
}

func (p *platform) publish(fields ...any) (id string) {
	p.t.Helper()
	id, err := p.stream.XAdd(p.t.Context(), &goredis.XAddArgs{Stream: string(event.Orders), Values: fields}).Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

func (p *platform) publishEvent(e event.Event) (id string) {
	p.t.Helper()
	return p.publish(event.Orders.Fields(e)...)
}

func newEvent() event.Event { return newEventIn("EUR") }

func newEventIn(currency string) event.Event {
	data, err := json.Marshal(event.Order{ID: uuid.New(), UserID: uuid.New(), Status: "pending", Total: 1250, Currency: currency, Version: 1})
	if err != nil {
		panic(err)
	}
	return event.Event{ID: uuid.Must(uuid.NewV7()), Type: event.OrderCreated, OccurredAt: time.Now(), Data: data}
}

func (p *platform) pending() []goredis.XPendingExt {
	p.t.Helper()
	pending, err := p.stream.XPendingExt(p.t.Context(), &goredis.XPendingExtArgs{
		Stream: string(event.Orders), Group: group, Start: "-", End: "+", Count: 1000,
	}).Result()
	if err != nil && !strings.HasPrefix(err.Error(), "NOGROUP") {
		p.t.Fatal(err)
	}
	return pending
}

func (p *platform) deadLetters() []goredis.XMessage {
	p.t.Helper()
	found, err := p.stream.XRange(p.t.Context(), event.Orders.DeadLetters(), "-", "+").Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return found
}

func (p *platform) count(table string) (n int) {
	p.t.Helper()
	if err := p.pool.QueryRow(p.t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// settles waits until the numbers of notifications, pending entries and dead letters match.
func (p *platform) settles(notifications, pending, dead int) {
	p.t.Helper()
	backingtest.Eventually(p.t, deadline, func() error {
		if n, open, gone := p.count("notifications"), len(p.pending()), len(p.deadLetters()); n != notifications || open != pending || gone != dead {
			return fmt.Errorf("%d notifications, %d pending, %d dead; want %d, %d, %d", n, open, gone, notifications, pending, dead)
		}
		return nil
	})
}

// takeAs delivers all new entries to a consumer that doesn't handle them.
func (p *platform) takeAs(name string) {
	p.t.Helper()
	err := p.stream.XReadGroup(p.t.Context(), &goredis.XReadGroupArgs{
		Group: group, Consumer: name, Streams: []string{string(event.Orders), ">"}, Block: -1,
	}).Err()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *platform) join() {
	p.t.Helper()
	if err := p.stream.XGroupCreateMkStream(p.t.Context(), string(event.Orders), group, "0").Err(); err != nil {
		p.t.Fatal(err)
	}
}

const (
	never = time.Hour             // no entry becomes stale
	soon  = 50 * time.Millisecond // unacknowledged entries become stale
)

func TestConsumer(t *testing.T) {
	shared := newPlatform(t)

	t.Run("handling an event is a span with a link to the request that caused the event", func(t *testing.T) {
		const traceID, spanID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
		p := shared.fresh(t)
		exporter := tracetest.NewInMemoryExporter()
		p.tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)).Tracer("")
		e, poison := newEvent(), newEventIn("")
		e.Traceparent = "00-" + traceID + "-" + spanID + "-01"
		poison.Traceparent = e.Traceparent
		p.publishEvent(e)
		p.publishEvent(poison)
		stop := p.run(never)
		p.settles(1, 1, 0)
		stop()
		spans := exporter.GetSpans()
		if len(spans) != 2 || spans[0].Status.Code != codes.Unset || spans[1].Status.Code != codes.Error {
			t.Fatalf("got %+v", spans)
		}
		for _, got := range spans {
			if len(got.Links) != 1 || got.Links[0].SpanContext.SpanID().String() != spanID || got.SpanContext.TraceID().String() != traceID ||
				got.SpanKind != trace.SpanKindConsumer || got.Name != "process "+string(event.Orders) {
				t.Errorf("got %+v", got)
			}
		}
	})

	t.Run("entries of a dead consumer are handled, but not twice if their effect was committed", func(t *testing.T) {
		p := shared.fresh(t)
		p.join()
		committed, untouched := newEvent(), newEvent()
		p.publishEvent(committed)
		p.publishEvent(untouched)
		p.takeAs("dead")
		effect, err := handle(committed)
		if err != nil {
			t.Fatal(err)
		}
		c := New(definition(never), p.stream, p.pool, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), noop.Tracer{})
		if applied, err := c.try(t.Context(), committed.ID, effect); err != nil || !applied {
			t.Fatalf("applied: %t, %v", applied, err)
		}
		defer p.run(soon)()
		p.settles(2, 0, 0)
	})

	t.Run("entries of another consumer that aren't stale stay with it", func(t *testing.T) {
		p := shared.fresh(t)
		p.join()
		p.publishEvent(newEvent())
		p.takeAs("busy")
		p.publishEvent(newEvent())
		defer p.run(never)()
		p.settles(1, 1, 0)
	})

	t.Run("invalid events don't block others and become dead letters at their fifth delivery", func(t *testing.T) {
		p := shared.fresh(t)
		refused := newEvent()
		_, err := p.pool.Exec(t.Context(), fmt.Sprintf("ALTER TABLE notifications ADD CONSTRAINT refusing CHECK (id <> '%s')", refused.ID))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = p.pool.Exec(t.Context(), "ALTER TABLE notifications DROP CONSTRAINT refusing") }()
		broken := newEventIn("E\x00R")
		poison := []string{
			p.publish("garbage", "1", "garbage", "2"),
			p.publishEvent(refused),
			p.publishEvent(broken),
			p.publish("id", strings.Repeat("x", 100_000)),
		}
		for range 20 {
			p.publishEvent(newEvent())
		}
		stop := p.run(never)
		p.settles(20, len(poison), 0)
		stop()
		for _, entry := range p.pending() {
			if entry.RetryCount != 1 {
				t.Errorf("entry %s was delivered %d times while nothing was stale", entry.ID, entry.RetryCount)
			}
		}

		stop = p.run(soon)
		p.settles(20, 0, len(poison))
		stop()
		byID := map[string]map[string]any{}
		for _, letter := range p.deadLetters() {
			byID[letter.Values["dead_id"].(string)] = letter.Values
		}
		for _, id := range poison {
			letter := byID[id]
			if letter["dead_deliveries"] != "5" || letter["dead_reason"] == "" || letter["dead_group"] != group {
				t.Errorf("the dead letter of %s is %.300v", id, letter)
			}
			if _, err := time.Parse(time.RFC3339Nano, letter["dead_at"].(string)); err != nil {
				t.Error(err)
			}
			original := p.stream.XRange(t.Context(), string(event.Orders), id, id).Val()[0].Values
			for name, value := range original {
				if letter[name] != value {
					t.Errorf("the dead letter of %s has lost %s", id, name)
				}
			}
		}
	})

	t.Run("a redriven dead letter has its effect in the group that failed, and in no other", func(t *testing.T) {
		p := shared.fresh(t)
		var repaired atomic.Bool
		record := func(e event.Event) (Effect, error) { // adds a row each time
			return func(ctx context.Context, db postgres.DB) error {
				_, err := db.Exec(ctx, "INSERT INTO notifications (id, user_id, type, title, body, order_id) VALUES (gen_random_uuid(), $1, $2, '', '', $1)", e.ID, e.Type)
				return err
			}, nil
		}
		handles := definition(soon)
		handles.Handle = record
		repeats, fails := handles, handles
		repeats.Group, repeats.Idempotent = "repeats", true
		fails.Group = "fails"
		fails.Handle = func(e event.Event) (Effect, error) {
			if !repaired.Load() {
				return nil, errors.New("not repaired")
			}
			return record(e)
		}
		p.publishEvent(newEvent())
		for _, d := range []Definition{handles, repeats, fails} {
			defer p.runAs(d)()
		}
		settles := func(effects, dead int) {
			t.Helper()
			backingtest.Eventually(t, deadline, func() error {
				groups, err := p.stream.XInfoGroups(t.Context(), string(event.Orders)).Result()
				if err != nil || len(groups) != 3 {
					return fmt.Errorf("%d groups: %w", len(groups), err)
				}
				for _, group := range groups {
					if group.Lag+group.Pending != 0 {
						return fmt.Errorf("%s has %d undelivered and %d pending entries", group.Name, group.Lag, group.Pending)
					}
				}
				if n, gone := p.count("notifications"), len(p.deadLetters()); n != effects || gone != dead {
					return fmt.Errorf("%d effects, %d dead letters; want %d, %d", n, gone, effects, dead)
				}
				return nil
			})
		}
		settles(2, 1)
		repaired.Store(true)
		if n, err := Redrive(t.Context(), p.stream, event.Orders); n != 1 || err != nil {
			t.Errorf("%d dead letters are redriven: %v", n, err)
		}
		settles(3, 0)
		if n := p.count("handled_events"); n != 3 {
			t.Errorf("%d events are recorded as handled, want one in each group", n)
		}
	})

	t.Run("an event of an unknown type is skipped", func(t *testing.T) {
		p := shared.fresh(t)
		newer := newEvent()
		newer.Type = "order.refunded"
		p.publishEvent(newer)
		p.publishEvent(newEvent())
		defer p.run(soon)()
		p.settles(1, 0, 0)
	})

	t.Run("a database outage creates no dead letters, however often replicas restart", func(t *testing.T) {
		p := shared.fresh(t)
		p.join()
		const events = 40
		for range events {
			p.publishEvent(newEvent())
		}
		poison := p.publish("garbage", "1")
		p.postgres.Stop()
		for {
			before := deliveries(p.pending())
			stop := p.run(soon)
			backingtest.Eventually(t, deadline, func() error {
				if deliveries(p.pending()) == before {
					return errors.New("nothing was delivered")
				}
				return nil
			})
			stop()
			if most(p.pending()) > 2*maxDeliveries {
				break
			}
		}
		p.postgres.Start()
		backingtest.Eventually(t, deadline, func() error { return p.pool.Ping(t.Context()) })
		defer p.run(soon)()
		p.settles(events, 0, 1)
		if dead := p.deadLetters()[0].Values["dead_id"]; dead != poison {
			t.Errorf("%v is dead, want %s", dead, poison)
		}
	})

	t.Run("events wait until the schema is repaired", func(t *testing.T) {
		p := shared.fresh(t)
		rename := func(from, to string) {
			t.Helper()
			if _, err := p.pool.Exec(t.Context(), "ALTER TABLE "+from+" RENAME TO "+to); err != nil {
				t.Fatal(err)
			}
		}
		rename("handled_events", "away")
		p.join()
		for range 3 {
			p.publishEvent(newEvent())
		}
		// Two consumers, so that each claims the entries of the other.
		defer p.run(soon)()
		defer p.run(soon)()
		backingtest.Eventually(t, deadline, func() error {
			if len(p.pending()) != 3 {
				return errors.New("the events aren't delivered yet")
			}
			return nil
		})
		rename("away", "handled_events")
		p.settles(3, 0, 0)
	})

	t.Run("an idempotent effect keeps its partial results, and is recorded once it is complete", func(t *testing.T) {
		p := shared.fresh(t)
		e := newEvent()
		p.publishEvent(e)
		p.publishEvent(e)
		d := definition(never)
		d.Idempotent = true
		tries := 0
		d.Handle = func(event.Event) (Effect, error) {
			return func(ctx context.Context, db postgres.DB) error {
				tries++
				_, err := db.Exec(ctx, "INSERT INTO notifications (id, user_id, type, title, body, order_id) VALUES ($1, $1, '', '', '', $1)", uuid.New())
				if err == nil && tries < 3 {
					err = errors.New("unavailable")
				}
				return err
			}, nil
		}
		stop := p.runAs(d)
		p.settles(3, 0, 0)
		stop()
		if tries != 3 || p.count("handled_events") != 1 {
			t.Errorf("tried %d times and recorded %d events, want 3 and 1", tries, p.count("handled_events"))
		}
	})

	t.Run("an effect that finishes while a consumer stops is not repeated", func(t *testing.T) {
		p := shared.fresh(t)
		p.publishEvent(newEvent())
		d := definition(soon)
		d.Idempotent = true
		started, proceed := make(chan struct{}), make(chan struct{})
		d.Handle = func(event.Event) (Effect, error) {
			return func(context.Context, postgres.DB) error { close(started); <-proceed; return nil }, nil // twice would panic
		}
		stop := p.runAs(d)
		<-started
		go func() { time.Sleep(100 * time.Millisecond); close(proceed) }()
		stop()
		defer p.runAs(d)()
		p.settles(0, 0, 0)
	})

	t.Run("events that can't be handled are dropped with Discard", func(t *testing.T) {
		p := shared.fresh(t)
		p.publishEvent(newEventIn(""))
		p.publishEvent(newEvent())
		d := definition(soon)
		d.Discard = true
		defer p.runAs(d)()
		p.settles(1, 0, 0)
	})

	t.Run("a stopping consumer hands its entries back", func(t *testing.T) {
		p := shared.fresh(t)
		blocker := p.postgres.Connect()
		if _, err := blocker.Exec(t.Context(), "BEGIN; LOCK TABLE handled_events"); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			p.publishEvent(newEvent())
		}
		const stale = 10 * time.Minute // longer than the test: only entries that were handed back are claimed
		stop := p.run(stale)
		backingtest.Eventually(t, deadline, func() error {
			if len(p.pending()) != 5 {
				return errors.New("the events aren't delivered yet")
			}
			return nil
		})
		stop()
		if _, err := blocker.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		// The first consumer's statement may still have committed: each event has its effect once.
		defer p.run(stale)()
		p.settles(5, 0, 0)
	})
}

func deliveries(pending []goredis.XPendingExt) (sum int64) {
	for _, entry := range pending {
		sum += entry.RetryCount
	}
	return sum
}

func most(pending []goredis.XPendingExt) (count int64) {
	for _, entry := range pending {
		count = max(count, entry.RetryCount)
	}
	return count
}
