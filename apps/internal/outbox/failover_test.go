package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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
	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/redis"
)

const patience = time.Minute

// replicated is a stream with a primary, two replicas and three Sentinels, as the platform runs it.
type replicated struct {
	t         *testing.T
	instances []*backingtest.Redis // the first one is the primary
	clients   []*goredis.Client    // of the test, one of each instance
	sentinels []string
}

func startReplicated(t *testing.T) *replicated {
	t.Helper()
	r := &replicated{t: t}
	authority := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(authority, []byte(backingtest.Authority(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		instance := backingtest.StartStream(t)
		client := instance.Client()
		t.Cleanup(func() { _ = client.Close() })
		r.instances, r.clients = append(r.instances, instance), append(r.clients, client)
		for _, command := range [][]any{
			{"CONFIG", "SET", "tls-replication", "yes", "tls-ca-cert-file", authority, "masterauth", client.Options().Password,
				"repl-diskless-sync-delay", "0", "min-replicas-max-lag", "3"},
			{"ACL", "SETUSER", "order-service", "+wait"},
		} {
			if err := client.Do(t.Context(), command...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	host, port, _ := net.SplitHostPort(r.instances[0].Addr())
	for _, replica := range r.clients[1:] {
		if err := replica.Do(t.Context(), "REPLICAOF", host, port).Err(); err != nil {
			t.Fatal(err)
		}
	}
	backingtest.Eventually(t, patience, func() error {
		if info := r.clients[0].Info(t.Context(), "replication").Val(); strings.Count(info, "state=online") != 2 {
			return errors.New(info)
		}
		return nil
	})
	for range 3 {
		r.sentinels = append(r.sentinels, r.startSentinel(authority, host, port))
	}
	return r
}

// startSentinel runs a Sentinel until the test ends. Its users have what infra/data grants them.
func (r *replicated) startSentinel(authority, host, port string) (addr string) {
	r.t.Helper()
	listener := backingtest.Must[net.Listener](r.t)(net.Listen("tcp", "127.0.0.1:0"))
	addr = listener.Addr().String()
	_ = listener.Close()
	_, own, _ := net.SplitHostPort(addr)
	files := backingtest.Must[map[string]string](r.t)(r.clients[0].ConfigGet(r.t.Context(), "tls-*-file").Result())
	lines := []string{
		"bind 127.0.0.1", "port 0", "tls-port " + own, "tls-auth-clients no", "tls-replication yes", "tls-ca-cert-file " + authority,
		"tls-cert-file " + files["tls-cert-file"], "tls-key-file " + files["tls-key-file"],
		"sentinel monitor stream " + host + " " + port + " 2", "sentinel auth-pass stream " + r.clients[0].Options().Password,
		"sentinel down-after-milliseconds stream 1000", "sentinel failover-timeout stream 5000",
	}
	for _, service := range []string{"order-service", "notification-service"} {
		lines = append(lines, "user "+service+" on >"+r.env(service)["STREAM_PASSWORD"]+
			" allchannels +ping +subscribe +sentinel|get-master-addr-by-name +sentinel|sentinels")
	}
	file := filepath.Join(r.t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	sentinel := exec.Command(backingtest.Find(r.t, "redis-server", "redis-server"), file, "--sentinel")
	sentinel.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := sentinel.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _, _ = sentinel.Process.Kill(), sentinel.Wait() })
	return addr
}

// env is the environment of a service that knows the Sentinels.
func (r *replicated) env(service string) map[string]string {
	env := maps.Clone(r.instances[0].Env(service))
	env["STREAM_ADDR"] = strings.Join(r.sentinels, ",")
	return env
}

func (r *replicated) open(service string) *goredis.Client {
	r.t.Helper()
	env := r.env(service)
	read := config.From(func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	at := redis.ReadStream(read)
	if err := read.Err(); err != nil {
		r.t.Fatal(err)
	}
	client := redis.Open(at, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	r.t.Cleanup(func() { _ = client.Close() })
	return client
}

// database is a migrated database of a service.
func database(t *testing.T, service string) *pgxpool.Pool {
	t.Helper()
	variables, log := backingtest.StartPostgres(t).Env(), slog.New(slog.DiscardHandler)
	at := postgres.ReadConfig(config.From(func(name string) (string, bool) { value, ok := variables[name]; return value, ok }))
	if err := postgres.Migrate(t.Context(), at, os.DirFS("../../"+service+"/migrations"), log); err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Connect(t.Context(), at, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// The primary dies in the middle of the events of 1,000 orders: each event is handled exactly once in effect.
func TestFailoverLosesNoEventAndHandlesNoneTwice(t *testing.T) {
	stream, publisher, receiver := startReplicated(t), database(t, "order-service"), database(t, "notification-service")
	if _, err := receiver.Exec(t.Context(), "CREATE TABLE effects (order_id uuid)"); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	relay := NewRelay(orders, publisher, stream.open("order-service"), log, prometheus.NewRegistry(), noop.Tracer{})
	if !redis.Replicated(relay.stream) {
		t.Fatal("the client of several Sentinels counts as one without replicas")
	}

	t.Run("an event that no replica confirms stays unpublished", func(t *testing.T) {
		b := &bench{t: t, pool: publisher, client: stream.clients[0], relay: relay}
		b.add(uuid.New(), 1)
		for _, replica := range stream.instances[1:] {
			replica.Hang()
		}
		if published, err := relay.round(t.Context()); published != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without replicas %d events are published, %v", published, err)
		}
		if left := b.count("published_at IS NULL"); left != 1 {
			t.Errorf("%d events are unpublished, want 1", left)
		}
		for _, replica := range stream.instances[1:] {
			replica.Resume()
		}
		backingtest.Eventually(t, patience, func() error {
			if published, err := relay.round(t.Context()); published != 1 {
				return fmt.Errorf("%d events are published, %w", published, err)
			}
			return nil
		})
	})

	ctx, cancel := context.WithCancel(t.Context())
	handler := consumer.New(consumer.Definition{
		Service: "notification-service", Stream: event.Orders, Group: "notification-service", Types: []event.Type{event.OrderPaid}, StaleAfter: 2 * time.Second,
		Handle: func(e event.Event) (consumer.Effect, error) {
			order, err := event.Data[event.Order](e)
			return func(ctx context.Context, db postgres.DB) error {
				_, err := db.Exec(ctx, "INSERT INTO effects (order_id) VALUES ($1)", order.ID)
				return err
			}, err
		},
	}, stream.open("notification-service"), receiver, log, prometheus.NewRegistry(), noop.Tracer{})
	ended := make(chan struct{}, 2)
	for _, run := range []func(context.Context){relay.Run, handler.Run} {
		go func() { run(ctx); ended <- struct{}{} }()
	}
	t.Cleanup(func() { cancel(); <-ended; <-ended })

	const total, killedAt = 1000, 300
	effects := func() (all, distinct int) {
		t.Helper()
		if err := receiver.QueryRow(t.Context(), "SELECT count(*), count(DISTINCT order_id) FROM effects").Scan(&all, &distinct); err != nil {
			t.Fatal(err)
		}
		return all, distinct
	}
	for placed := 1; placed < total; placed++ { // one is placed above
		var batch pgx.Batch
		id := uuid.New()
		orders.Add(t.Context(), &batch, event.OrderPaid, time.Now(), id, event.Order{ID: id, UserID: uuid.New(), Version: 1})
		if err := publisher.SendBatch(t.Context(), &batch).Close(); err != nil {
			t.Fatal(err)
		}
		relay.Wake()
		if placed == killedAt {
			stream.instances[0].Stop()
		}
	}
	backingtest.Eventually(t, patience, func() error {
		if _, distinct := effects(); distinct < total {
			return fmt.Errorf("the events of %d orders are handled, want %d", distinct, total)
		}
		return nil
	})
	var unpublished int
	backingtest.Eventually(t, patience, func() error {
		if err := publisher.QueryRow(t.Context(), "SELECT count(*) FROM outbox WHERE published_at IS NULL").Scan(&unpublished); err != nil || unpublished > 0 {
			return fmt.Errorf("%d events are unpublished, %w", unpublished, err)
		}
		return nil
	})
	if all, distinct := effects(); all != total || distinct != total {
		t.Errorf("%d events of %d orders are handled, want %d of each", all, distinct, total)
	}
	// On a busy machine, the Sentinels can take a primary for dead that is only slow. Then two claim to be the primary
	// for some seconds.
	backingtest.Eventually(t, patience, func() error {
		primaries := 0
		for _, replica := range stream.clients[1:] {
			role, err := replica.Do(t.Context(), "ROLE").Slice()
			if err != nil {
				return err
			}
			if role[0] == "master" {
				primaries++
			}
		}
		if primaries != 1 {
			return fmt.Errorf("%d of the two replicas are primaries, want 1", primaries)
		}
		return nil
	})
}
