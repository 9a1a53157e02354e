package service

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/health"
	"platform.example/apps/internal/httpserver"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/redis"
	"platform.example/apps/internal/telemetry"
)

// Definition states what a service needs from the platform and builds its API.
type Definition struct {
	Name                    string
	Postgres, Cache, Stream bool
	// Edge marks a service whose clients are outside the platform: they bring no
	// signed identity, and their sampling decisions are ignored.
	Edge bool
	// Configure reads the service's own variables; nil reads none.
	Configure func(*config.Env)
	Build     func(Base) (API, error)
}

// Base holds what a service is built on. Stores that the Definition doesn't
// name are nil.
type Base struct {
	Log           *slog.Logger
	Registry      *prometheus.Registry
	Postgres      *pgxpool.Pool
	Cache, Stream *goredis.Client
	Tracer        trace.Tracer // nil where traces aren't exported
}

// API holds the routes of a service and its work besides requests.
type API struct {
	Routes      func(chi.Router, *problem.Mapper)
	Middlewares func(*problem.Mapper) chi.Middlewares
	Observe     func(telemetry.Request)    // nil counts requests as <service>_requests_total does
	Ops         map[string]http.Handler    // further paths of the ops port
	Client      func(*http.Request) string // the client's address, which the log names where a request was refused; may be nil
	Checks      []health.Check             // in addition to those of Postgres and Redis
	Background  []background.Work          // in every replica
	WhileLive   []background.Work          // in replicas of the live colour
	Chores      []background.Chore         // once a minute, in replicas of the live colour
}

// Serve returns the command that serves the API of a service: with its
// configuration, logs, traces, metrics, stores, health checks, caller
// authentication and graceful shutdown.
func Serve(d Definition) Command {
	return d.serve
}

func (d Definition) serve(ctx context.Context, p Process) (err error) {
	env := config.From(p.Lookup)
	self := config.ReadService(env, d.Name)
	liveAt := live.ReadURL(env)
	var (
		callers           *identity.Verifier
		database          postgres.Config
		cacheAt, streamAt redis.Config
	)
	if !d.Edge {
		callers = identity.ReadVerifier(env, d.Name)
	}
	if d.Postgres {
		database = postgres.ReadConfig(env)
	}
	if d.Cache {
		cacheAt = redis.ReadCache(env)
	}
	if d.Stream {
		streamAt = redis.ReadStream(env)
	}
	if d.Configure != nil {
		d.Configure(env)
	}
	if err := env.Err(); err != nil {
		return err
	}

	tel, err := telemetry.Start(ctx, self, p.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tel.Stop()) }()
	tel.Edge = d.Edge

	base := Base{Log: tel.Log, Registry: tel.Registry}
	if tel.Spans != nil {
		base.Tracer = tel.Spans.Tracer(d.Name)
		database.Spans, cacheAt.Spans, streamAt.Spans = tel.Spans, tel.Spans, tel.Spans
	}
	var checks []health.Check
	if d.Postgres {
		if base.Postgres, err = postgres.Connect(ctx, database, tel.Log); err != nil {
			return err
		}
		defer base.Postgres.Close()
		postgres.RegisterMetrics(tel.Registry, base.Postgres)
		checks = append(checks, health.Check{Name: "postgres", Required: true, Probe: base.Postgres.Ping})
	}
	if d.Cache {
		base.Cache = redis.Open(cacheAt, tel.Log, labelled(tel.Registry, "cache"))
		defer func() { err = errors.Join(err, base.Cache.Close()) }()
		checks = append(checks, redisCheck("redis", base.Cache))
	}
	if d.Stream {
		base.Stream = redis.Open(streamAt, tel.Log, labelled(tel.Registry, "stream"))
		defer func() { err = errors.Join(err, base.Stream.Close()) }()
		checks = append(checks, redisCheck("stream", base.Stream))
	}
	api, err := d.Build(base)
	if err != nil {
		return err
	}

	state := health.New(self, tel.Log, append(checks, api.Checks...)...)
	errs := problem.NewMapper(tel.Log)
	var middlewares chi.Middlewares
	if callers != nil {
		middlewares = append(middlewares, callers.Require(errs))
	}
	if api.Middlewares != nil {
		middlewares = append(middlewares, api.Middlewares(errs)...)
	}
	if api.Observe == nil {
		api.Observe = tel.RequestMetrics(strings.ReplaceAll(d.Name, "-", "_"))
	}
	tel.Client = api.Client
	router := httpserver.NewAPI(tel, state, errs, api.Observe, middlewares...)
	api.Routes(router, errs)

	colour := live.NewSwitch(liveAt, self, tel.Log, tel.Registry)
	server, err := httpserver.Listen(self, tel.Log, state, colour, router, httpserver.NewOps(tel, state, api.Ops))
	if err != nil {
		return err
	}
	work := append([]background.Work{colour.Watch}, api.Background...)
	for _, w := range append(api.WhileLive, background.Chores(tel.Log, api.Chores...)) {
		work = append(work, background.While(colour, w))
	}
	// Background work outlives ctx: the last requests still need it.
	defer background.Start(context.WithoutCancel(ctx), work...)()
	return server.Run(ctx)
}

// labelled tells the metrics of a service's two Redis clients apart.
func labelled(registry prometheus.Registerer, store string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"store": store}, registry)
}

// redisCheck isn't required: a service works, if slower, without Redis.
func redisCheck(name string, client *goredis.Client) health.Check {
	return health.Check{Name: name, Probe: func(ctx context.Context) error { return client.Ping(ctx).Err() }}
}

// Migrate returns the command that brings the database of a service up to date
// with migrations/*.sql of files, before replicas of its version start.
func Migrate(name string, files fs.FS) Command {
	return func(ctx context.Context, p Process) error {
		env := config.From(p.Lookup)
		self := config.ReadService(env, name)
		database := postgres.ReadConfig(env)
		migrations, err := fs.Sub(files, "migrations")
		if err := errors.Join(env.Err(), err); err != nil {
			return err
		}
		return postgres.Migrate(ctx, database, migrations, telemetry.NewLogger(p.Stdout, self))
	}
}

// OnPostgres returns a command that needs the service's database and nothing
// else. configure reads the command's own variables; nil reads none.
func OnPostgres(name string, configure func(*config.Env), run func(context.Context, *pgxpool.Pool, *slog.Logger) error) Command {
	return func(ctx context.Context, p Process) error {
		env := config.From(p.Lookup)
		self := config.ReadService(env, name)
		database := postgres.ReadConfig(env)
		if configure != nil {
			configure(env)
		}
		if err := env.Err(); err != nil {
			return err
		}
		log := telemetry.NewLogger(p.Stdout, self)
		pool, err := postgres.Connect(ctx, database, log)
		if err != nil {
			return err
		}
		defer pool.Close()
		return run(ctx, pool, log)
	}
}
