// Command greeter-service counts the greetings of each name. A test adds it as the fifth service and removes it.
package main

import (
	"embed"
	"net/http"
	"os"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/httpserver"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/verify"
)

const name = "greeter-service"

//go:embed migrations/*.sql
var migrations embed.FS

func main() {
	service.Main(name, service.Commands{
		"": serve, "migrate": service.Migrate(name, migrations),
		// A greeting that doesn't exist, which queries Postgres.
		"verify": verify.Command(name, verify.AsNobody(name, verify.Probe{Path: "/greetings/", Want: []int{http.StatusOK}})),
	})
}

var serve = service.Serve(service.Definition{
	Name: name, Postgres: true,
	Build: func(b service.Base) (service.API, error) {
		return service.API{Routes: api{b.Postgres}.register}, nil
	},
})

type api struct{ pool *pgxpool.Pool }

func (a api) register(router chi.Router, errs *problem.Mapper) {
	bounded := router.With(httpserver.Deadline)
	bounded.Get("/greetings/{name}", errs.Handle(a.greetings))
	bounded.Post("/greetings/{name}", errs.Handle(a.greet))
}

// greeting is a resource: how often the name was greeted, and the status code of user-service's health.
type greeting struct {
	Times       int `json:"times"`
	UserService int `json:"user_service,omitempty"`
}

func (a api) greetings(w http.ResponseWriter, r *http.Request) error {
	if _, err := identity.SignedIn(r); err != nil {
		return err
	}
	var g greeting
	err := a.pool.QueryRow(r.Context(), "SELECT coalesce(sum(times), 0) FROM greetings WHERE name = $1", chi.URLParam(r, "name")).Scan(&g.Times)
	if err != nil {
		return err
	}
	return httpjson.Write(w, http.StatusOK, g)
}

func (a api) greet(w http.ResponseWriter, r *http.Request) error {
	if _, err := identity.SignedIn(r); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, os.Getenv("USER_SERVICE_URL")+"/health", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	g := greeting{UserService: response.StatusCode}
	err = a.pool.QueryRow(r.Context(), `INSERT INTO greetings (name) VALUES ($1)
		ON CONFLICT (name) DO UPDATE SET times = greetings.times + 1 RETURNING times`, chi.URLParam(r, "name")).Scan(&g.Times)
	if err != nil {
		return err
	}
	return httpjson.Write(w, http.StatusOK, g)
}
