// Package service runs a service process: its subcommands, its signals, its configuration and its telemetry.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // the image holds no time zones

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	_ "golang.org/x/crypto/x509roots/fallback" // the image holds no CA roots

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

// Process is the environment of a command.
type Process struct {
	Lookup func(name string) (string, bool) // environment variables
	Stdout io.Writer
}

// Command runs until its work is done or ctx is done.
type Command func(ctx context.Context, p Process) error

// Commands maps the name of a subcommand to the command. The name "" stands for no subcommand.
type Commands map[string]Command

// gcPercent lets the heap grow to five times the live heap before a collection. The live heap is a few MiB,
// so the default of 100 would collect all the time. GOMEMLIMIT, which the platform sets, still holds.
const gcPercent = 400

// Main runs the command that the process arguments name, and exits with status 1 if the command fails. The
// first SIGTERM or SIGINT cancels the command's context; the second ends the process at once.
func Main(name string, commands Commands) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	if err := Run(ctx, commands, os.Args[1:], Process{Lookup: os.LookupEnv, Stdout: os.Stdout}); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Run runs the command that args name. It fails if commands has no such command.
func Run(ctx context.Context, commands Commands, args []string, p Process) error {
	subcommand := strings.Join(args, " ")
	command, ok := commands[subcommand]
	if !ok {
		names := strings.Join(slices.Sorted(maps.Keys(commands)), ", ")
		return fmt.Errorf("unknown command %q: use one of %s, or none to serve", subcommand, strings.TrimPrefix(names, ", "))
	}
	return command(ctx, p)
}

// Definition states which parts of the platform a service needs, and how its API is built.
type Definition struct {
	Name                    string
	Postgres, Cache, Stream bool
	// Edge marks a service whose clients are outside the platform. Their requests carry no signed identity,
	// and their sampling decisions are ignored.
	Edge bool
	// Configure reads the service's own environment variables, and returns the function that builds its API.
	Configure func(*config.Env) Build
}

// Build builds the API of a service.
type Build func(Base) (API, error)

// Base holds the dependencies of a service. Stores that the Definition doesn't name are nil.
type Base struct {
	Log           *slog.Logger
	Registry      *prometheus.Registry
	Postgres      *pgxpool.Pool
	Cache, Stream *goredis.Client
	Tracer        trace.Tracer // creates no spans if traces aren't exported
}

// API holds the routes and the background work of a service.
type API struct {
	Routes      func(chi.Router, *problem.Mapper)
	Middlewares func(*problem.Mapper) chi.Middlewares
	Observe     func(telemetry.Request)    // records a request; nil counts it in <service>_requests_total
	Ops         map[string]http.Handler    // additional paths of the ops port
	Client      func(*http.Request) string // returns the client's address, which the log contains when a request is refused; may be nil
	Checks      []health.Check             // in addition to the checks of Postgres and Redis
	Background  []background.Work          // in every replica
	WhileLive   []background.Work          // in replicas of the live colour
	Chores      []background.Chore         // once a minute, in replicas of the live colour
}

// restartPause is the pause before work that has returned by itself starts again.
const restartPause = time.Second

// Serve returns the command that serves the API of a service. The command reads the configuration and starts
// the logs, traces, metrics, stores, health checks and background work. It authenticates callers and stops
// gracefully.
func Serve(d Definition) Command { return d.serve }

func (d Definition) serve(ctx context.Context, p Process) (err error) {
	env := config.From(p.Lookup)
	self := config.ReadService(env, d.Name)
	liveURL := config.ParsedOr(env, "LIVE_URL", nil, config.HTTPURL)
	var (
		callers       *identity.Verifier
		database      postgres.Config
		cache, stream redis.Config
	)
	if !d.Edge {
		callers = identity.ReadVerifier(env, d.Name)
	}
	if d.Postgres {
		database = postgres.ReadConfig(env)
	}
	if d.Cache {
		cache = redis.ReadCache(env)
	}
	if d.Stream {
		stream = redis.ReadStream(env)
	}
	build := d.Configure(env)
	if err := env.Err(); err != nil {
		return err
	}

	tel, err := telemetry.Start(ctx, self, p.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tel.Stop()) }()
	tel.Edge = d.Edge

	base := Base{Log: tel.Log, Registry: tel.Registry, Tracer: noop.Tracer{}}
	if tel.Spans != nil {
		base.Tracer = tel.Spans.Tracer(d.Name)
		database.Spans, cache.Spans, stream.Spans = tel.Spans, tel.Spans, tel.Spans
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
	open := func(at redis.Config, store, check string) *goredis.Client {
		client := redis.Open(at, tel.Log, prometheus.WrapRegistererWith(prometheus.Labels{"store": store}, tel.Registry))
		// Not required: without Redis a service is slower, but works.
		checks = append(checks, health.Check{Name: check, Probe: func(ctx context.Context) error { return client.Ping(ctx).Err() }})
		return client
	}
	if d.Cache {
		base.Cache = open(cache, "cache", "redis")
		defer func() { err = errors.Join(err, base.Cache.Close()) }()
	}
	if d.Stream {
		base.Stream = open(stream, "stream", "stream")
		defer func() { err = errors.Join(err, base.Stream.Close()) }()
	}
	api, err := build(base)
	if err != nil {
		return err
	}

	state := health.New(self, tel.Log, append(checks, api.Checks...)...)
	errs := &problem.Mapper{Log: tel.Log}
	var middlewares chi.Middlewares
	if callers != nil {
		middlewares = append(middlewares, callers.Require(errs))
	}
	if api.Middlewares != nil {
		middlewares = append(middlewares, api.Middlewares(errs)...)
	}
	if api.Observe == nil {
		prefix := strings.ReplaceAll(d.Name, "-", "_")
		api.Observe = telemetry.RequestMetrics(tel.Registry, prefix, prefix+"_errors_total", "endpoint", func(r telemetry.Request) string { return r.Pattern })
	}
	tel.Client = api.Client
	router := httpserver.NewAPI(tel, state, errs, api.Observe, middlewares...)
	api.Routes(router, errs)
	_ = chi.Walk(router, func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		api.Observe(telemetry.Request{Method: method, Pattern: pattern})
		return nil
	})

	colour := live.NewSwitch(liveURL, self, tel.Log, tel.Registry)
	server, err := httpserver.Listen(self, tel.Log, state, colour, router, httpserver.NewOps(tel, state, api.Ops))
	if err != nil {
		return err
	}
	work := append([]background.Work{colour.Watch}, api.Background...)
	for _, w := range append(api.WhileLive, background.Chores(tel.Log, api.Chores...)) {
		work = append(work, func(ctx context.Context) { colour.While(ctx, restartPause, w) })
	}
	// Background work outlives ctx: the requests in flight still need it.
	defer background.Start(context.WithoutCancel(ctx), work...)()
	return server.Run(ctx)
}

// Migrate returns the command that applies the migrations/*.sql of files to the database of a service. It
// runs before replicas of its version start.
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

// Work is what a command does on the service's database.
type Work func(context.Context, *pgxpool.Pool, *slog.Logger) error

// OnPostgres returns a command that needs only the service's database. configure reads the command's own environment
// variables, and returns the work.
func OnPostgres(name string, configure func(*config.Env) Work) Command {
	return func(ctx context.Context, p Process) error {
		env := config.From(p.Lookup)
		self := config.ReadService(env, name)
		database := postgres.ReadConfig(env)
		work := configure(env)
		if err := env.Err(); err != nil {
			return err
		}
		log := telemetry.NewLogger(p.Stdout, self)
		pool, err := postgres.Connect(ctx, database, log)
		if err != nil {
			return err
		}
		defer pool.Close()
		return work(ctx, pool, log)
	}
}
