// Package postgres connects a service to its database, applies migrations and measures the connection pool.
package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/trace"

	"platform.example/apps/internal/backoff"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/dial"
)

const (
	startDeadline = 30 * time.Second // enough for a database that starts at the same time
	retryInterval = 500 * time.Millisecond
)

// Connect opens a pool for the requests of a service. It waits up to 30 s for the database to respond. Between
// the service and the database may be a pooler in transaction mode: nothing may change the state of a session.
// The statement timeout of 3 s is therefore a setting of the service's role.
func Connect(ctx context.Context, c Config, log *slog.Logger) (*pgxpool.Pool, error) {
	poolConfig, err := c.pool()
	if err != nil {
		return nil, err
	}
	g := &gate{log: log}
	poolConfig.ConnConfig.Tracer = g
	if c.Spans != nil {
		poolConfig.ConnConfig.Tracer = multitracer.New(g, otelpgx.NewTracer(otelpgx.WithTracerProvider(c.Spans)))
	}
	pool, err := connect(ctx, poolConfig, log)
	g.pool = pool
	return pool, err
}

func connect(ctx context.Context, poolConfig *pgxpool.Config, log *slog.Logger) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, fmt.Errorf("opening the connection pool: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	for {
		err := pool.Ping(ctx)
		if err == nil {
			return pool, nil
		}
		log.Warn("Postgres does not respond yet", "cause", err)
		if backoff.Sleep(ctx, retryInterval); ctx.Err() != nil {
			pool.Close()
			return nil, fmt.Errorf("no response from Postgres within %s: check POSTGRES_* and that it runs: %w", startDeadline, err)
		}
	}
}

const (
	// Long, because a busy server starts over with every client that gives up. A request doesn't wait for it
	// beyond its own deadline.
	connectTimeout = 10 * time.Second
	// Short enough that a pool leaves an old primary, or spreads over replicas again, by itself.
	maxConnLifetime = 30 * time.Minute
)

// Config is the address of the database and the credentials of the service.
type Config struct {
	host, port, database, user string
	password                   config.Secret
	sslMode                    string
	authorities                *x509.CertPool // that sign the server's certificate; nil means the system's roots
	maxConns                   int

	Spans trace.TracerProvider // of the statements that belong to a span; nil if there are none
}

const (
	verified = "verify-full" // TLS with a verified certificate and host name
	noTLS    = "disable"
	// TLS without verification: for an external server whose certificate no known authority signs.
	unverified = "require"
)

// ReadConfig reads a Config from POSTGRES_*.
func ReadConfig(e *config.Env) Config {
	sslMode := config.ParsedOr(e, "POSTGRES_SSLMODE", verified, config.OneOf(noTLS, unverified, verified))
	return Config{
		host:     config.Parsed(e, "POSTGRES_HOST", config.Host),
		port:     strconv.Itoa(config.ParsedOr(e, "POSTGRES_PORT", 5432, config.Int(1, 65535))),
		database: config.Parsed(e, "POSTGRES_DATABASE", config.String),
		user:     config.Parsed(e, "POSTGRES_USER", config.String),
		password: config.Parsed(e, "POSTGRES_PASSWORD", config.SecretText),
		sslMode:  sslMode,
		authorities: config.ParsedOr(e, "POSTGRES_CA_CERTIFICATE", nil,
			config.CertificatesIf(sslMode == verified, "POSTGRES_SSLMODE="+verified)),
		maxConns: config.ParsedOr(e, "POSTGRES_MAX_CONNS", 8, config.Int(1, 100)),
	}
}

func (c Config) pool() (*pgxpool.Config, error) {
	address := url.URL{
		Scheme: "postgres", User: url.User(c.user), Host: net.JoinHostPort(c.host, c.port), Path: "/" + c.database,
		RawQuery: url.Values{"sslmode": {c.sslMode}}.Encode(),
	}
	pool, err := pgxpool.ParseConfig(address.String())
	if err != nil {
		return nil, fmt.Errorf("POSTGRES_*: %w", err)
	}
	pool.ConnConfig.Password = c.password.Reveal() // not in the URL, which errors may contain
	if secured := pool.ConnConfig.TLSConfig; secured != nil {
		// No session cache: Postgres never resumes a session.
		secured.MinVersion = tls.VersionTLS12
		if c.authorities != nil {
			secured.RootCAs = c.authorities
		}
	}
	pool.ConnConfig.ConnectTimeout = connectTimeout
	pool.ConnConfig.DialFunc = (&dial.Dialer{Dialer: net.Dialer{KeepAlive: dial.KeepAlive}}).DialContext
	pool.ConnConfig.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // the dialer looks it up
	pool.MaxConns = int32(c.maxConns)
	pool.MinConns = pool.MaxConns / 2 // so that a colour doesn't open all connections when it becomes live
	pool.MaxConnLifetime = maxConnLifetime
	pool.MaxConnLifetimeJitter = maxConnLifetime / 10
	return pool, nil
}

// RegisterMetrics registers the metrics of a connection pool.
func RegisterMetrics(registry prometheus.Registerer, pool *pgxpool.Pool) {
	auto := promauto.With(registry)
	counter := func(name, help string, value func() float64) {
		auto.NewCounterFunc(prometheus.CounterOpts{Name: "postgres_pool_" + name, Help: help}, value)
	}
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postgres_pool_acquired_connections", Help: "Connections in use.",
	}, func() float64 { return float64(pool.Stat().AcquiredConns()) })
	counter("acquires_total", "Connections taken from the pool.", func() float64 { return float64(pool.Stat().AcquireCount()) })
	counter("canceled_acquires_total", "Waits for a connection that were given up.", func() float64 { return float64(pool.Stat().CanceledAcquireCount()) })
	counter("acquire_wait_seconds_total", "Time spent waiting for a connection while none was idle.", func() float64 { return pool.Stat().EmptyAcquireWaitTime().Seconds() })
}
