package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/backoff"
)

const (
	startDeadline = 30 * time.Second // enough for a database that starts at the same time
	retryInterval = 500 * time.Millisecond
)

// Connect opens a pool for the requests of a service. It waits up to 30 s for the database to respond.
func Connect(ctx context.Context, c Config, log *slog.Logger) (*pgxpool.Pool, error) {
	poolConfig, err := c.pool()
	if err != nil {
		return nil, err
	}
	poolConfig.ConnConfig.RuntimeParams["statement_timeout"] = strconv.FormatInt(statementTimeout.Milliseconds(), 10)
	g := &gate{log: log}
	poolConfig.ConnConfig.Tracer = g
	if c.Spans != nil {
		poolConfig.ConnConfig.Tracer = multitracer.New(g, otelpgx.NewTracer(otelpgx.WithTracerProvider(c.Spans)))
	}
	pool, err := connect(ctx, poolConfig, log)
	if err != nil {
		return nil, err
	}
	g.pool = pool
	return pool, nil
}

func connect(ctx context.Context, poolConfig *pgxpool.Config, log *slog.Logger) (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, fmt.Errorf("opening the connection pool: %w", err)
	}
	if err := wait(ctx, pool, log); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

func wait(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	for {
		err := pool.Ping(ctx)
		if err == nil {
			return nil
		}
		log.Warn("Postgres does not respond yet", "cause", err)
		if backoff.Sleep(ctx, retryInterval); ctx.Err() != nil {
			return fmt.Errorf("no response from Postgres within %s: check POSTGRES_* and that it runs: %w", startDeadline, err)
		}
	}
}
