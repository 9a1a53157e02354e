// Command notification-service tells users what happens to their orders: in an
// inbox of each, and through a webhook where one is configured.
package main

import (
	"context"
	"errors"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/health"
	"platform.example/apps/internal/httpserver"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/migration"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/redis"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/telemetry"
	"platform.example/apps/internal/verify"
	"platform.example/apps/notification-service/internal/api"
	"platform.example/apps/notification-service/internal/consumer"
	"platform.example/apps/notification-service/internal/store"
	"platform.example/apps/notification-service/internal/webhook"
	"platform.example/apps/notification-service/migrations"
)

const name = "notification-service"

func main() { service.Main(name, commands()) }

func commands() service.Commands {
	return service.Commands{
		"":        serve,
		"migrate": migration.Command(name, migrations.Files),
		"verify":  verify.Command(name, probes),
	}
}

func serve(ctx context.Context, p service.Process) (err error) {
	env := config.From(p.Lookup)
	self := config.ReadService(env, name)
	database := postgres.ReadConfig(env)
	streamAt := redis.ReadStream(env)
	liveAt := live.ReadURL(env)
	callers := identity.ReadVerifier(env, name)
	receiver := webhook.ReadConfig(env)
	if err := env.Err(); err != nil {
		return err
	}

	tel, err := telemetry.Start(ctx, self, p.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tel.Stop()) }()

	pool, err := postgres.Connect(ctx, database, tel.Log)
	if err != nil {
		return err
	}
	defer pool.Close()
	postgres.RegisterMetrics(tel.Registry, pool)

	stream := redis.Open(streamAt, tel.Log, tel.Registry)
	defer func() { err = errors.Join(err, stream.Close()) }()

	notifications := store.New(pool)
	state := health.New(self, tel.Log,
		health.Check{Name: "postgres", Required: true, Probe: pool.Ping},
		health.Check{Name: "stream", Probe: func(ctx context.Context) error { return stream.Ping(ctx).Err() }},
	)
	errs := problem.NewMapper(tel.Log)
	router := httpserver.NewAPI(tel, state, errs, tel.RequestMetrics("notification_service"), callers.Require(errs))
	api.New(notifications).Register(router, errs)

	colour := live.NewSwitch(liveAt, self, tel.Log, tel.Registry)
	server, err := httpserver.Listen(self, tel.Log, state, colour, router, httpserver.NewOps(tel, state))
	if err != nil {
		return err
	}

	stop := background.Start(ctx, beside(tel, stream, notifications, colour, receiver)...)
	defer stop()
	return server.Run(ctx)
}

// beside is the work beside requests: what every replica does, and what only
// those of the live colour do.
func beside(tel *telemetry.Telemetry, stream *goredis.Client, notifications *store.Store,
	colour *live.Switch, receiver webhook.Config) []background.Work {
	toDeliver := receiver.URL != nil
	events := consumer.New(stream, notifications, toDeliver, consumer.StaleAfter, tel.Log, tel.Registry)
	always := []background.Work{colour.Watch, events.Watch}
	whileLive := []background.Work{events.Run, events.KeepHouse}
	if toDeliver {
		deliveries := webhook.New(receiver, webhook.DefaultRetry(), notifications, tel.Log, tel.Registry)
		always = append(always, deliveries.Watch)
		whileLive = append(whileLive, deliveries.Run)
	}
	for _, work := range whileLive {
		always = append(always, background.While(colour, work))
	}
	return always
}
