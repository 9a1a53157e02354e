package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace/noop"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
)

var orders = Outbox{Service: "order-service", Stream: event.Orders, Table: "outbox", Subject: "order_id"}

// bench is a relay whose rounds the test runs, with its stores.
type bench struct {
	t      *testing.T
	pool   *pgxpool.Pool
	client *goredis.Client // of the test
	relay  *Relay
	logs   bytes.Buffer
}

// All subtests share one Postgres and one Redis. Each begins with an empty outbox and an empty Redis.
func TestOutbox(t *testing.T) {
	database, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	variables := database.Env()
	at := postgres.ReadConfig(config.From(func(name string) (string, bool) { value, ok := variables[name]; return value, ok }))
	log := slog.New(slog.DiscardHandler)
	if err := postgres.Migrate(t.Context(), at, os.DirFS("../../order-service/migrations"), log); err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Connect(t.Context(), at, log)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	client, service := stream.Client(), stream.ClientOf("order-service")
	defer func() { _ = errors.Join(client.Close(), service.Close()) }()

	for name, test := range map[string]func(*bench){
		"each round publishes the first event of each order":           testHeads,
		"events that Redis refuses stay unpublished":                   testRefused,
		"only added events are marked as published":                    testMarked,
		"a frozen relay does not keep its events":                      testFrozen,
		"a wiped stream is detected before a new entry hides the loss": testWiped,
		"a wiped stream is detected while nothing is published":        testWipedAtRest,
		"lost last entries of a stream are published again":            testTail,
		"no relay publishes while events are requeued":                 testExclusion,
		"entries that every group has acknowledged are trimmed":        testTrim,
		"only published events are deleted after seven days":           testForget,
		"a replay publishes the events since the given time":           testReplay,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pool.Exec(t.Context(), "TRUNCATE outbox"); err != nil {
				t.Fatal(err)
			}
			stream.Wipe()
			b := &bench{t: t, pool: pool, client: client}
			b.relay = NewRelay(orders, pool, service, slog.New(slog.NewJSONHandler(&b.logs, nil)), prometheus.NewRegistry(), noop.Tracer{})
			test(b)
		})
	}
}

// add writes an event for each version of an order.
func (b *bench) add(id uuid.UUID, versions ...int64) {
	b.t.Helper()
	var batch pgx.Batch
	for _, version := range versions {
		orders.Add(b.t.Context(), &batch, event.OrderPaid, time.Now(), id, event.Order{ID: id, UserID: uuid.New(), Version: version})
	}
	if err := b.pool.SendBatch(b.t.Context(), &batch).Close(); err != nil {
		b.t.Fatal(err)
	}
}

// round runs one round and checks the number of published events.
func (b *bench) round(want int) {
	b.t.Helper()
	if published, err := b.relay.round(b.t.Context()); published != want || err != nil {
		b.t.Fatalf("a round publishes %d, %v; want %d", published, err, want)
	}
}

// drain runs rounds until there is nothing to publish, and requeues lost events.
func (b *bench) drain() {
	b.t.Helper()
	for {
		published, err := b.relay.round(b.t.Context())
		if lost, ok := errors.AsType[*lostError](err); ok {
			err, published = b.relay.requeueLost(b.t.Context(), lost), 1
		}
		if err != nil {
			b.t.Fatal(err)
		}
		if published == 0 {
			return
		}
	}
}

// stream returns the entries of the stream, each as the first character of the order's id and its version.
func (b *bench) stream() string {
	b.t.Helper()
	entries, err := b.client.XRange(b.t.Context(), string(event.Orders), "-", "+").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	var held []string
	for _, entry := range entries {
		e, err := event.Orders.Parse(entry.Values)
		if err != nil {
			b.t.Fatal(err)
		}
		o, err := event.Data[event.Order](e)
		if err != nil {
			b.t.Fatal(err)
		}
		held = append(held, fmt.Sprintf("%s.%d", o.ID.String()[:1], o.Version))
	}
	return fmt.Sprint(held)
}

func (b *bench) holds(want string) {
	b.t.Helper()
	if got := b.stream(); got != want {
		b.t.Errorf("the stream contains %s, want %s", got, want)
	}
}

// begin starts a transaction that stands for another relay. It ends with the test at the latest.
func (b *bench) begin() pgx.Tx {
	b.t.Helper()
	tx, err := b.pool.Begin(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func (b *bench) exec(sql string, arguments ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), sql, arguments...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) count(condition string) (n int) {
	b.t.Helper()
	if err := b.pool.QueryRow(b.t.Context(), "SELECT count(*) FROM outbox WHERE "+condition).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// Two orders, whose ids begin with a and b.
func twoOrders() (a, b uuid.UUID) {
	a, b = uuid.New(), uuid.New()
	a[0], b[0] = 0xa0, 0xb0
	return a, b
}

func testHeads(b *bench) {
	one, other := twoOrders()
	b.add(one, 1, 2, 3)
	b.add(other, 1)
	b.round(2)
	b.holds("[a.1 b.1]")
	b.round(1)
	b.round(1)
	b.round(0)
	b.holds("[a.1 b.1 a.2 a.3]")

	// While another relay has the first event of an order, the order is left alone.
	b.add(one, 4, 5)
	b.add(other, 2)
	tx := b.begin()
	if _, err := tx.Exec(b.t.Context(), "SELECT FROM outbox WHERE order_id = $1 FOR UPDATE", one); err != nil {
		b.t.Fatal(err)
	}
	b.round(1)
	b.round(0)
	if err := tx.Rollback(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.drain()
	b.holds("[a.1 b.1 a.2 a.3 b.2 a.4 a.5]")
}

func testRefused(b *bench) {
	one, other := twoOrders()
	b.add(one, 1)
	b.add(other, 1)
	memory := func(bound string) {
		if err := b.client.ConfigSet(b.t.Context(), "maxmemory", bound).Err(); err != nil {
			b.t.Fatal(err)
		}
	}
	memory("1")
	published, err := b.relay.round(b.t.Context())
	memory("0")
	if published != 0 || err == nil {
		b.t.Errorf("a Redis without memory: %d are published, %v", published, err)
	}
	b.holds("[]")
	b.drain()
	b.holds("[a.1 b.1]")
}

func testMarked(b *bench) {
	one, other := twoOrders()
	b.add(one, 1)
	b.add(other, 1)
	err := pgx.BeginFunc(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		_, taken, err := orders.take(b.t.Context(), tx)
		if err != nil {
			return err
		}
		_, err = orders.markPublished(b.t.Context(), tx, taken.ids, []position{{}, {ms: 1, seq: 2}})
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if b.count("published_at IS NULL") != 1 || b.count("stream_ms = 1 AND stream_seq = 2") != 1 {
		b.t.Error("not exactly the second event is marked as published")
	}
}

func testFrozen(b *bench) {
	one, _ := twoOrders()
	b.add(one, 1)
	tx := b.begin()
	if _, taken, err := orders.take(b.t.Context(), tx); err != nil || len(taken.ids) != 1 {
		b.t.Fatalf("the frozen relay took %v, %v", taken.ids, err)
	}
	b.round(0)
	backingtest.Eventually(b.t, 30*time.Second, func() error {
		if published, err := b.relay.round(b.t.Context()); published != 1 {
			return fmt.Errorf("nothing is published: %w", errors.Join(err, errors.New("the frozen relay keeps it")))
		}
		return nil
	})
}

func testWiped(b *bench) {
	one, other := twoOrders()
	b.add(one, 1, 2)
	b.drain()
	b.client.FlushAll(b.t.Context())
	b.add(one, 3)
	b.add(other, 1)
	if published, err := b.relay.round(b.t.Context()); published != 0 || err == nil {
		b.t.Fatalf("%d are published to a stream that has lost entries, %v", published, err)
	}
	b.holds("[]")
	b.drain()
	b.holds("[a.1 b.1 a.2 a.3]")
	if !bytes.Contains(b.logs.Bytes(), []byte(`"level":"WARN","msg":"the stream has lost entries`)) {
		b.t.Errorf("the loss is not logged:\n%s", b.logs.String())
	}
}

func testWipedAtRest(b *bench) {
	one, _ := twoOrders()
	b.add(one, 1)
	b.drain()
	b.client.FlushAll(b.t.Context())
	b.round(0) // the last check was a moment ago
	b.holds("[]")
	b.relay.checked = time.Now().Add(-checkInterval)
	b.drain()
	b.holds("[a.1]")
}

func testTail(b *bench) {
	one, other := twoOrders()
	b.add(one, 1, 2, 3)
	b.drain()
	entries := b.client.XRange(b.t.Context(), string(event.Orders), "-", "+").Val()
	// The stream as it was after the first entry.
	b.client.FlushAll(b.t.Context())
	b.client.XAdd(b.t.Context(), &goredis.XAddArgs{Stream: string(event.Orders), ID: entries[0].ID, Values: entries[0].Values})
	b.add(other, 1)
	b.drain()
	b.holds("[a.1 a.2 b.1 a.3]")
}

func testExclusion(b *bench) {
	one, _ := twoOrders()
	b.add(one, 1)
	tx := b.begin()
	if _, _, err := orders.take(b.t.Context(), tx); err != nil {
		b.t.Fatal(err)
	}
	marked := make(chan error, 1)
	go func() {
		_, err := orders.Replay(b.t.Context(), b.pool, time.Now().Add(-time.Hour))
		marked <- err
	}()
	backingtest.Eventually(b.t, 10*time.Second, func() error {
		var waiting int
		err := b.pool.QueryRow(b.t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&waiting)
		if waiting != 1 {
			return fmt.Errorf("%d wait for the relay: %w", waiting, errors.Join(err, errors.New("want one")))
		}
		return nil
	})
	if err := tx.Rollback(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	if err := <-marked; err != nil {
		b.t.Fatal(err)
	}
	b.drain() // the lock is free again
	b.holds("[a.1]")
}
