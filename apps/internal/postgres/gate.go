package postgres

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/puddle/v2"
)

const (
	// shutAfter is how many failures in a row shut the gate.
	shutAfter    = 5
	probeEvery   = time.Second
	probeTimeout = 900 * time.Millisecond
)

// gate makes queries fail at once while Postgres doesn't answer: each would
// otherwise wait for the whole time limit of its request. It traces the pool, and
// hands an expired context to whatever wants a connection. A probe opens it again.
type gate struct {
	log      *slog.Logger
	pool     *pgxpool.Pool // nil until the pool has connected: failures before count for nothing
	failures atomic.Int32
	shut     atomic.Bool
}

type probeKey struct{}

func (g *gate) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	if !g.shut.Load() || ctx.Value(probeKey{}) != nil {
		return ctx
	}
	ctx, cancel := context.WithDeadline(ctx, time.Unix(0, 0))
	cancel()
	return ctx
}

func (g *gate) TraceAcquireEnd(_ context.Context, _ *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	if data.Err != nil {
		g.failed(data.Err)
	}
}

func (g *gate) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (g *gate) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if data.Err != nil {
		g.failed(data.Err)
	} else {
		g.failures.Store(0)
	}
}

// failed counts what may mean that Postgres doesn't answer. An error that it reports itself is an answer.
func (g *gate) failed(err error) {
	if _, answered := errors.AsType[*pgconn.PgError](err); answered {
		g.failures.Store(0)
		return
	}
	_, network := errors.AsType[net.Error](err)
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	if !network && !connecting && !errors.Is(err, context.DeadlineExceeded) {
		return // such as a client that left
	}
	if g.pool == nil || g.shut.Load() || g.failures.Add(1) < shutAfter || !g.shut.CompareAndSwap(false, true) {
		return
	}
	g.log.Warn("Postgres doesn't answer: requests fail at once until it does", "cause", err)
	go g.probe()
}

// probe opens the gate once Postgres answers. It ends with the pool.
func (g *gate) probe() {
	for {
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), probeKey{}, true), probeTimeout)
		err := g.pool.Ping(ctx)
		cancel()
		if err == nil {
			g.shut.Store(false)
			g.failures.Store(0)
			g.log.Info("Postgres answers again")
			return
		}
		if errors.Is(err, puddle.ErrClosedPool) {
			return
		}
		time.Sleep(probeEvery)
	}
}
