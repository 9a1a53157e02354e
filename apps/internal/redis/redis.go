// Package redis connects a service to Redis, with short timeouts so that an unavailable Redis costs little,
// and measures the commands.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/extra/redisotel/v9"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"platform.example/apps/internal/config"
)

const (
	// go-redis keeps dialling for the pool after the command has given up. If many connections are dialled at
	// once on a slow core, each TLS handshake takes long: with a shorter timeout none might ever succeed.
	dialTimeout = 2 * time.Second
	// A healthy Redis responds in about 1 ms. A cache read has an alternative: the database.
	cacheTimeout = 100 * time.Millisecond
	// A write to the stream may wait for the disk. The writer has no alternative, but retries.
	streamTimeout = 2 * time.Second
	poolSize      = 32 // each connection carries thousands of commands a second
)

// Config is the address of Redis and the credentials of the service.
type Config struct {
	addrs    []string // one Redis, or several Sentinels that name the primary
	username string
	password config.Secret
	tls      *tls.Config   // nil means no TLS
	timeout  time.Duration // of a command

	Spans trace.TracerProvider // of the commands that belong to a span; nil if there are none
}

// ReadCache reads the Config of the cache, which may lose its data at any time, from REDIS_*.
func ReadCache(e *config.Env) Config { return read(e, "REDIS_", cacheTimeout) }

// ReadStream reads the Config of the streams, which lose no acknowledged write, from STREAM_*.
func ReadStream(e *config.Env) Config { return read(e, "STREAM_", streamTimeout) }

func read(e *config.Env, prefix string, timeout time.Duration) Config {
	c := Config{
		addrs:    config.Parsed(e, prefix+"ADDR", config.HostPorts),
		username: config.ParsedOr(e, prefix+"USERNAME", "", config.String),
		password: config.Parsed(e, prefix+"PASSWORD", config.SecretText),
		timeout:  timeout,
	}
	secured := config.ParsedOr(e, prefix+"TLS", false, config.Bool)
	authorities := config.ParsedOr(e, prefix+"CA_CERTIFICATE", nil, config.CertificatesIf(secured, prefix+"TLS=true"))
	if secured {
		c.tls = &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: authorities, // nil: the system's roots
			// All connections may be opened at once after an outage: Redis resumes a session without a new signature.
			ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
	}
	return c
}

// Replicated reports whether the client finds its server by Sentinels, so that the server has replicas: go-redis gives
// such a client this address.
func Replicated(client *goredis.Client) bool { return client.Options().Addr == "FailoverClient" }

// Open returns a client. The client connects on first use, so Redis may be unavailable. With several addresses, it
// connects to the primary, and to the next one after a failover.
func Open(c Config, log *slog.Logger, registry prometheus.Registerer) *goredis.Client {
	goredis.SetLogger(logger{log}) // one for all clients; go-redis' own writes plain text
	options := goredis.UniversalOptions{
		Addrs:            c.addrs,
		Username:         c.username,
		Password:         c.password.Reveal(),
		MasterName:       "stream", // as the platform's Sentinels call the primary
		SentinelUsername: c.username,
		SentinelPassword: c.password.Reveal(),

		Dialer:                Dialer(c.tls, dialTimeout),
		DialTimeout:           dialTimeout,
		ReadTimeout:           c.timeout, // a blocking command adds its own time
		WriteTimeout:          c.timeout,
		PoolTimeout:           c.timeout,
		PoolSize:              poolSize,
		ContextTimeoutEnabled: true,
		// No retries: they would multiply the timeouts.
		MaxRetries:         -1,
		DialerRetries:      1,
		DialerRetryTimeout: time.Nanosecond, // go-redis waits after the last try too, and reads 0 as 100 ms
		// The role may not be allowed to send these commands.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	var client *goredis.Client
	if len(c.addrs) > 1 {
		// Time to ask a Sentinel that hangs twice, as go-redis does, and then the others and the primary.
		options.DialTimeout = 2*(dialTimeout+c.timeout) + dialTimeout
		client = goredis.NewFailoverClient(options.Failover())
	} else {
		client = goredis.NewClient(options.Simple())
	}
	register(client, registry)
	if c.Spans != nil {
		// Fails only for other kinds of clients. Spans omit arguments, which contain user ids and cached
		// data.
		_ = redisotel.InstrumentTracing(client, redisotel.WithTracerProvider(inner{c.Spans}),
			redisotel.WithDBStatement(false), redisotel.WithCallerEnabled(false))
	}
	return client
}

func register(client *goredis.Client, registry prometheus.Registerer) {
	auto := promauto.With(registry)
	durations := auto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "redis_command_duration_seconds", Help: "Time from a command to its reply.",
		Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5},
	}, []string{"command"})
	failures := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "redis_command_errors_total", Help: "Commands that failed; a missing key is no failure.",
	}, []string{"command"})
	client.AddHook(observer{durations, failures})

	stat := func(name, help string, value func(*goredis.PoolStats) uint32) {
		auto.NewGaugeFunc(prometheus.GaugeOpts{Name: "redis_pool_" + name, Help: help},
			func() float64 { return float64(value(client.PoolStats())) })
	}
	stat("connections", "Connections open.", func(s *goredis.PoolStats) uint32 { return s.TotalConns })
	stat("idle_connections", "Connections open and not in use.", func(s *goredis.PoolStats) uint32 { return s.IdleConns })
	stat("timeouts", "Waits for a connection that were given up since the start.", func(s *goredis.PoolStats) uint32 { return s.Timeouts })
}

// logger logs go-redis' messages about single connections at debug level: while Redis is unavailable there is
// one per request, and metrics and readiness report the same.
type logger struct{ log *slog.Logger }

func (l logger) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

// observer measures every command; a pipeline counts as one command.
type observer struct {
	durations *prometheus.HistogramVec
	failures  *prometheus.CounterVec
}

func (o observer) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, command goredis.Cmder) error {
		start := time.Now()
		err := next(ctx, command)
		o.observe(command.Name(), start, failed(err))
		return err
	}
}

func (o observer) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (o observer) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, commands []goredis.Cmder) error {
		start := time.Now()
		err := next(ctx, commands)
		// err is the error of the first failed command and may hide others.
		o.observe("pipeline", start, failed(err) || slices.ContainsFunc(commands, func(c goredis.Cmder) bool { return failed(c.Err()) }))
		return err
	}
}

func (o observer) observe(command string, start time.Time, failed bool) {
	o.durations.WithLabelValues(command).Observe(time.Since(start).Seconds())
	if failed {
		o.failures.WithLabelValues(command).Inc()
	}
}

func failed(err error) bool { return err != nil && !errors.Is(err, goredis.Nil) }

// inner creates spans only within other spans: otherwise each poll of a stream would be a trace.
type inner struct{ trace.TracerProvider }

func (p inner) Tracer(name string, options ...trace.TracerOption) trace.Tracer {
	return innerTracer{p.TracerProvider.Tracer(name, options...)}
}

type innerTracer struct{ trace.Tracer }

func (t innerTracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, noop.Span{}
	}
	return t.Tracer.Start(ctx, name, options...)
}
