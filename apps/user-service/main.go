// Command user-service keeps users: who they are and how they sign in.
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
	"platform.example/apps/user-service/internal/api"
	"platform.example/apps/user-service/internal/cache"
	"platform.example/apps/user-service/internal/password"
	"platform.example/apps/user-service/internal/session"
	"platform.example/apps/user-service/internal/store"
	"platform.example/apps/user-service/migrations"
)

const name = "user-service"

func main() { service.Main(name, commands()) }

func commands() service.Commands {
	return service.Commands{
		"":          serve,
		"migrate":   migration.Command(name, migrations.Files),
		"seed-demo": seedDemo,
		"verify":    verify.Command(name, probes),
	}
}

func serve(ctx context.Context, p service.Process) (err error) {
	env := config.From(p.Lookup)
	self := config.ReadService(env, name)
	database := postgres.ReadConfig(env)
	cacheAt := redis.ReadCache(env)
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

	redisClient := redis.Open(cacheAt, tel.Log, tel.Registry)
	defer func() { err = errors.Join(err, redisClient.Close()) }()

	users := store.New(pool)
	sessions := session.New(pool, tel.Log)
	userAPI := api.New(users, cache.New(redisClient, users.Get, tel.Log, tel.Registry), password.NewHasher(), sessions)

	state := health.New(self, tel.Log,
		health.Check{Name: "postgres", Required: true, Probe: pool.Ping},
		health.Check{Name: "redis", Probe: func(ctx context.Context) error { return redisClient.Ping(ctx).Err() }},
	)
	errs := problem.NewMapper(tel.Log)
	router := httpserver.NewAPI(tel, state, errs, tel.RequestMetrics("user_service"), callers.Require(errs))
	userAPI.Register(router, errs)

	colour := live.NewSwitch(liveAt, self, tel.Log, tel.Registry)
	server, err := httpserver.Listen(self, tel.Log, state, colour, router, httpserver.NewOps(tel, state))
	if err != nil {
		return err
	}
	stop := background.Start(ctx, colour.Watch, background.While(colour, background.Chores(tel.Log, sessions.Sweep)))
	defer stop()
	return server.Run(ctx)
}
