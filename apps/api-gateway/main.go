// Command api-gateway is the one way in: it signs users in, checks their
// tokens and passes their requests on to the services.
package main

import (
	"context"
	"errors"

	"platform.example/apps/api-gateway/internal/api"
	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/health"
	"platform.example/apps/internal/httpserver"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/telemetry"
)

const name = "api-gateway"

func main() { service.Main(name, commands()) }

func commands() service.Commands { return service.Commands{"": serve} }

func serve(ctx context.Context, p service.Process) (err error) {
	env := config.From(p.Lookup)
	self := config.ReadService(env, name)
	keys := config.Parsed(env, "JWT_KEYS", token.ParseKeys)
	usersAt := config.Parsed(env, "USER_SERVICE_URL", config.HTTPURL)
	if err := env.Err(); err != nil {
		return err
	}

	tel, err := telemetry.Start(ctx, self, p.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tel.Stop()) }()

	errs := problem.NewMapper(tel.Log)
	metrics := api.NewMetrics(tel.Registry)
	users := upstream.New("user-service", usersAt, errs)
	defer users.Close()

	state := health.New(self, tel.Log, health.Check{Name: users.Name(), Probe: users.Probe})
	router := httpserver.NewAPI(tel, state, errs, metrics.Observe)
	api.New(token.NewAuthority(keys), users).Register(router, errs)

	server, err := httpserver.Listen(self, tel.Log, state, router, httpserver.NewOps(tel, state))
	if err != nil {
		return err
	}
	return server.Run(ctx)
}
