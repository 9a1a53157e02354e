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
	// shutAfter is the number of failures in a row that shut the gate.
	shutAfter    = 5
	probeEvery   = time.Second
	probeTimeout = 900 * time.Millisecond
)

// gate makes queries fail at once while Postgres doesn't respond: otherwise each waits for the full deadline
// of its request. The gate is a tracer of the pool that passes an expired context to each acquisition of a
// connection. A probe opens it again.
type gate struct {
	log      *slog.Logger
	pool     *pgxpool.Pool // nil until the pool has connected: earlier failures don't count
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

// failed counts an error that may mean that Postgres doesn't respond. An error reported by Postgres is a
// response.
func (g *gate) failed(err error) {
	if _, responded := errors.AsType[*pgconn.PgError](err); responded {
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
	g.log.Warn("Postgres doesn't respond: requests fail at once until it does", "cause", err)
	go g.probe()
}

// probe opens the gate once Postgres responds. It ends when the pool is closed.
func (g *gate) probe() {
	for {
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), probeKey{}, true), probeTimeout)
		err := g.pool.Ping(ctx)
		cancel()
		if err == nil {
			g.shut.Store(false)
			g.failures.Store(0)
			g.log.Info("Postgres responds again")
			return
		}
		if errors.Is(err, puddle.ErrClosedPool) {
			return
		}
		time.Sleep(probeEvery)
	}
}
