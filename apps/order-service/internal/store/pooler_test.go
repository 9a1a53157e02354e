package store

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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/outbox"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/order-service/internal/order"
)

// startPooler runs PgBouncer in transaction mode with at most that many connections to the server until the test ends. Without TLS: the key
// of the server's certificate is the server's. prepares reports whether it prepares the named statements of clients at the server, as from
// 1.21 on; Debian 12 has an earlier version.
func startPooler(t *testing.T, server *backingtest.Postgres, connections int) (port string, prepares bool) {
	t.Helper()
	binary := backingtest.Find(t, "pgbouncer", "pgbouncer", "/usr/sbin/pgbouncer")
	var major, minor int
	version := backingtest.Must[[]byte](t)(exec.Command(binary, "--version").Output())
	if _, err := fmt.Sscanf(string(version), "PgBouncer %d.%d", &major, &minor); err != nil {
		t.Fatalf("the version of PgBouncer: %v: %s", err, version)
	}
	var stored string // which suffices to sign in
	if err := server.Connect().QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = 'service'").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	listener := backingtest.Must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	folder := backingtest.Must[string](t)(os.MkdirTemp("/tmp", "pgbouncer")) // other users can't enter t.TempDir
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	settings := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nunix_socket_dir =\n"+
		"pool_mode = transaction\ndefault_pool_size = %d\nauth_type = scram-sha-256\nauth_file = %s/users\nserver_tls_sslmode = require\n",
		server.Env()["POSTGRES_PORT"], port, connections, folder)
	if prepares = major > 1 || minor >= 21; prepares {
		settings += "max_prepared_statements = 200\n"
	}
	err := errors.Join(os.Chmod(folder, 0o755), //nolint:gosec // it runs as another user
		os.WriteFile(filepath.Join(folder, "users"), fmt.Appendf(nil, "%q %q\n", "service", stored), 0o644), //nolint:gosec // as above
		os.WriteFile(filepath.Join(folder, "pgbouncer.ini"), []byte(settings), 0o644))                       //nolint:gosec // as above
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, "--quiet", filepath.Join(folder, "pgbouncer.ini"))
	command.Dir = "/"
	if os.Geteuid() == 0 { // it refuses to run as root
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // it is killed
	})
	return port, prepares
}

// The service works through a pooler that gives each transaction another connection: fewer connections than clients.
func TestOrdersThroughAPooler(t *testing.T) {
	const servers, clients = 2, 8
	database, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	port, prepares := startPooler(t, database, servers)
	at := func(variables map[string]string) postgres.Config {
		return postgres.ReadConfig(config.From(func(name string) (string, bool) { value, ok := variables[name]; return value, ok }))
	}
	log := slog.New(slog.DiscardHandler)
	if err := postgres.Migrate(t.Context(), at(database.Env()), os.DirFS("../../migrations"), log); err != nil {
		t.Fatal(err)
	}
	pooled := database.Env()
	maps.Copy(pooled, map[string]string{"POSTGRES_PORT": port, "POSTGRES_SSLMODE": "disable", "POSTGRES_CA_CERTIFICATE": ""})
	pool, err := postgres.Connect(t.Context(), at(pooled), log)
	if err != nil {
		t.Fatal(err)
	}
	if !prepares {
		pool.Close()
		unnamed := pool.Config()
		unnamed.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		pool = backingtest.Must[*pgxpool.Pool](t)(pgxpool.NewWithConfig(t.Context(), unnamed))
	}
	t.Cleanup(pool.Close)
	client, service := stream.Client(), stream.ClientOf("order-service")
	defer func() { _ = errors.Join(client.Close(), service.Close()) }()
	relay := outbox.NewRelay(Outbox, pool, service, log, prometheus.NewRegistry(), noop.Tracer{})
	ctx, stop := context.WithCancel(t.Context())
	var relayed sync.WaitGroup
	relayed.Go(func() { relay.Run(ctx) })
	defer func() {
		stop()
		relayed.Wait()
	}()

	orders := New(pool, relay.Wake)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			user := uuid.New()
			for range 10 {
				id, _, err := create(t, orders, user, uuid.NewString())
				if err == nil {
					_, err = orders.Move(t.Context(), id, user, nil, order.Cancel, time.Now())
				}
				if err != nil {
					t.Error(err)
				}
			}
			if listed, err := orders.List(t.Context(), user, uuid.Max, 20); err != nil || len(listed) != 10 {
				t.Errorf("%d orders of a user: %v", len(listed), err)
			}
		})
	}
	replayed := int64(0)
	all.Go(func() { // beside transactions of others, which use the same connections
		for range 10 {
			n, err := Outbox.Replay(t.Context(), pool, time.Now().Add(-time.Hour))
			if err != nil {
				t.Error(err)
			}
			replayed += n
		}
	})
	all.Wait()
	backingtest.Eventually(t, 30*time.Second, func() error {
		want := 2*10*clients + replayed // an order, its end, and the replayed events
		got, err := client.XLen(t.Context(), string(event.Orders)).Result()
		if err == nil && got != want {
			err = fmt.Errorf("%d events are published, want %d", got, want)
		}
		return err
	})

	var timeout string
	if err := pool.QueryRow(t.Context(), "SHOW statement_timeout").Scan(&timeout); err != nil || timeout != "3s" {
		t.Errorf("the timeout of a statement is %q: %v", timeout, err)
	}
	_, err = pool.Exec(t.Context(), "SELECT pg_sleep(60)")
	if timedOut, ok := errors.AsType[*pgconn.PgError](err); !ok || timedOut.Code != "57014" {
		t.Errorf("a statement without end: %v", err)
	}
	var sessions, locks int
	err = errors.Join(
		database.Connect().QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename = 'service'").Scan(&sessions),
		database.Connect().QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'").Scan(&locks))
	if err != nil || sessions > servers || locks > 0 {
		t.Errorf("%d sessions at the server, want at most %d; %d advisory locks are left: %v", sessions, servers, locks, err)
	}
	if pool.Stat().TotalConns() <= servers {
		t.Errorf("only %d clients of the pooler: this shows nothing", pool.Stat().TotalConns())
	}
}
