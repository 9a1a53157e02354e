// Command order-service takes orders, moves them along and tells of it.
package main

import (
	"context"
	"errors"

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
	"platform.example/apps/order-service/internal/api"
	"platform.example/apps/order-service/internal/outbox"
	"platform.example/apps/order-service/internal/store"
	"platform.example/apps/order-service/migrations"
)

const name = "order-service"

func main() { service.Main(name, commands()) }

func commands() service.Commands {
	return service.Commands{
		"":        serve,
		"migrate": migration.Command(name, migrations.Files),
		"replay":  replay,
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

	relay := outbox.NewRelay(pool, stream, tel.Log, tel.Registry)
	orders := store.New(pool, relay.Wake)

	state := health.New(self, tel.Log,
		health.Check{Name: "postgres", Required: true, Probe: pool.Ping},
		// Without it orders are still taken: what is to be told waits in the outbox.
		health.Check{Name: "stream", Probe: func(ctx context.Context) error { return stream.Ping(ctx).Err() }},
	)
	errs := problem.NewMapper(tel.Log)
	router := httpserver.NewAPI(tel, state, errs, tel.RequestMetrics("order_service"), callers.Require(errs))
	api.New(orders).Register(router, errs)

	colour := live.NewSwitch(liveAt, self, tel.Log, tel.Registry)
	server, err := httpserver.Listen(self, tel.Log, state, colour, router, httpserver.NewOps(tel, state))
	if err != nil {
		return err
	}

	// Not ctx: what the last requests did is told, too.
	stop := background.Start(context.WithoutCancel(ctx), colour.Watch,
		background.While(colour, relay.Run),
		background.While(colour, background.Chores(tel.Log, relay.Trim, relay.Forget, orders.ForgetKeys)))
	defer stop()
	return server.Run(ctx)
}
