// Package redis connects a service to Redis with timeouts so short that a
// Redis that is down or hung costs little, and tells how it is used.
package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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

	"platform.example/apps/internal/config"
)

const (
	// go-redis goes on dialling for the pool when the command has been given up. Where many dial at once on a
	// slow core, TLS takes them all long: less time would let none succeed, again and again.
	dialTimeout = 2 * time.Second
	// A healthy answer takes about 1 ms. Who asks the cache has another way.
	cacheTimeout = 100 * time.Millisecond
	// A write to the stream may wait for the disk; who writes has no other way,
	// but comes again.
	streamTimeout = 2 * time.Second
	poolSize      = 32 // connections: each carries thousands of commands a second
)

// Config says where Redis is and who asks.
type Config struct {
	addr, username string
	password       config.Secret
	tls            *tls.Config   // nil: without
	timeout        time.Duration // of a command

	Spans trace.TracerProvider // of the commands that belong to a span; nil: there are none
}

// ReadCache reads where the cache is, which may lose everything at any time.
func ReadCache(e *config.Env) Config { return read(e, "REDIS_", cacheTimeout) }

// ReadStream reads where the streams are, which lose nothing that was acknowledged.
func ReadStream(e *config.Env) Config { return read(e, "STREAM_", streamTimeout) }

func read(e *config.Env, prefix string, timeout time.Duration) Config {
	c := Config{
		addr:     config.Parsed(e, prefix+"ADDR", config.HostPort),
		username: config.ParsedOr(e, prefix+"USERNAME", "", config.String),
		password: config.Parsed(e, prefix+"PASSWORD", config.SecretText),
		timeout:  timeout,
	}
	secured := config.ParsedOr(e, prefix+"TLS", false, config.Bool)
	authorities := config.ParsedOr(e, prefix+"CA_CERTIFICATE", nil, func(raw string) (*x509.CertPool, error) {
		if !secured {
			return nil, errors.New("is set and would not be used: it needs " + prefix + "TLS=true")
		}
		return config.Certificates(raw)
	})
	if secured {
		c.tls = clientTLS(c.addr, authorities)
	}
	return c
}

// Open returns a client. It connects when it is first used: Redis may be away.
func Open(c Config, log *slog.Logger, registry prometheus.Registerer) *goredis.Client {
	goredis.SetLogger(logger{log}) // go-redis has one for all clients, which writes plain text
	client := goredis.NewClient(&goredis.Options{
		Addr:     c.addr,
		Username: c.username,
		Password: c.password.Reveal(),

		Dialer:                Dialer(c.tls, dialTimeout),
		DialTimeout:           dialTimeout,
		ReadTimeout:           c.timeout, // a blocking command's own time comes on top
		WriteTimeout:          c.timeout,
		PoolTimeout:           c.timeout,
		PoolSize:              poolSize,
		ContextTimeoutEnabled: true,
		// One try each: retries would multiply the timeouts.
		MaxRetries:         -1,
		DialerRetries:      1,
		DialerRetryTimeout: time.Nanosecond, // go-redis waits after the last try too, and reads 0 as 100 ms
		// Commands at connect that the role may not be allowed to send.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	register(client, registry)
	if c.Spans != nil {
		// It fails for other kinds of clients only. Arguments name users and hold what is cached.
		_ = redisotel.InstrumentTracing(client, redisotel.WithTracerProvider(inner{c.Spans}),
			redisotel.WithDBStatement(false), redisotel.WithCallerEnabled(false))
	}
	return client
}

func register(client *goredis.Client, registry prometheus.Registerer) {
	auto := promauto.With(registry)
	durations := auto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "redis_command_duration_seconds", Help: "Time for a command to be answered.",
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

// logger takes what go-redis says of single connections, while Redis is away
// once a request: metrics and readiness say the same without the noise.
type logger struct{ log *slog.Logger }

func (l logger) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

// observer measures every command, and a pipeline as if it were one.
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
		// The error is that of the first command that has one, and may hide others.
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
