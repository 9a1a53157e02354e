// Command greeter-service counts whom it has greeted; it is the fifth service that a test adds and takes away.
package main

import (
	"context"
	"errors"
	"net/http"
	"os"

	"github.com/go-chi/chi/v5"

	"platform.example/apps/greeter-service/migrations"
	"platform.example/apps/internal/background"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/health"
	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/httpserver"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/migration"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/telemetry"
	"platform.example/apps/internal/verify"
)

const name = "greeter-service"

func main() {
	service.Main(name, service.Commands{
		"": serve, "migrate": migration.Command(name, migrations.Files), "verify": verify.Command(name, probes),
	})
}

// probes read how many were greeted: Postgres is asked.
func probes(*config.Env) verify.Probes {
	return func() ([]verify.Probe, error) {
		return []verify.Probe{{Method: http.MethodGet, Path: "/greetings", Want: []int{http.StatusOK}}}, nil
	}
}

func serve(ctx context.Context, p service.Process) (err error) {
	env := config.From(p.Lookup)
	self := config.ReadService(env, name)
	database := postgres.ReadConfig(env)
	liveAt := live.ReadURL(env)
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

	state := health.New(self, tel.Log, health.Check{Name: "postgres", Required: true, Probe: pool.Ping})
	errs := problem.NewMapper(tel.Log)
	router := httpserver.NewAPI(tel, state, errs, tel.RequestMetrics("greeter_service"))
	router.Get("/greetings", errs.Handle(func(w http.ResponseWriter, r *http.Request) error {
		var greeted struct {
			Names int `json:"names"`
		}
		if err := pool.QueryRow(r.Context(), "SELECT count(*) FROM greetings").Scan(&greeted.Names); err != nil {
			return err
		}
		return httpjson.Write(w, http.StatusOK, greeted)
	}))
	router.Get("/greetings/{name}", errs.Handle(func(w http.ResponseWriter, r *http.Request) error {
		request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, os.Getenv("USER_SERVICE_URL")+"/health", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		greeting := struct {
			Times       int `json:"times"`
			UserService int `json:"user_service"` // the status that it answers
		}{UserService: response.StatusCode}
		err = pool.QueryRow(r.Context(), `INSERT INTO greetings (name) VALUES ($1)
			ON CONFLICT (name) DO UPDATE SET times = greetings.times + 1 RETURNING times`, chi.URLParam(r, "name")).Scan(&greeting.Times)
		if err != nil {
			return err
		}
		return httpjson.Write(w, http.StatusOK, greeting)
	}))
	colour := live.NewSwitch(liveAt, self, tel.Log, tel.Registry)
	server, err := httpserver.Listen(self, tel.Log, state, colour, router, httpserver.NewOps(tel, state))
	if err != nil {
		return err
	}
	defer background.Start(ctx, colour.Watch)()
	return server.Run(ctx)
}
