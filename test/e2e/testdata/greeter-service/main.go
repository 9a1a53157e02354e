// Command greeter-service counts the greetings of each name. A test adds it as the fifth service and removes it.
package main

import (
	"embed"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/client"
	"platform.example/apps/internal/config"
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
		"verify": verify.Command(name, verify.AsUnknownUser(name, verify.Probe{Path: "/greetings/", Want: []int{http.StatusOK}})),
	})
}

var serve = service.Serve(service.Definition{
	Name: name, Postgres: true,
	Configure: func(env *config.Env) service.Build {
		users := config.Parsed(env, "USER_SERVICE_URL", config.HTTPURL)
		return func(b service.Base) (service.API, error) {
			return service.API{Routes: api{b.Postgres, client.New("user-service", users, b.Registry)}.register}, nil
		}
	},
})

type api struct {
	pool  *pgxpool.Pool
	users *client.Client
}

func (a api) register(router chi.Router, errs *problem.Mapper) {
	bounded := router.With(httpserver.Deadline)
	bounded.Get("/greetings/{name}", errs.Handle(identity.RequireUser(a.greetings)))
	bounded.Post("/greetings/{name}", errs.Handle(identity.RequireUser(a.greet)))
}

// greeting is a resource: how often the name was greeted, and a text with the name of the caller, which user-service returns.
type greeting struct {
	Times int    `json:"times"`
	Text  string `json:"text,omitempty"`
}

func (a api) greetings(w http.ResponseWriter, r *http.Request, _ identity.Principal) error {
	var g greeting
	err := a.pool.QueryRow(r.Context(), "SELECT coalesce(sum(times), 0) FROM greetings WHERE name = $1", chi.URLParam(r, "name")).Scan(&g.Times)
	if err != nil {
		return err
	}
	return httpjson.Write(w, http.StatusOK, g)
}

func (a api) greet(w http.ResponseWriter, r *http.Request, caller identity.Principal) error {
	var user struct{ Name string }
	if err := a.users.Get(r, "/users/"+caller.ID.String(), &user); err != nil {
		return err
	}
	g := greeting{Text: "Hello, " + user.Name + "!"}
	err := a.pool.QueryRow(r.Context(), `INSERT INTO greetings (name) VALUES ($1)
		ON CONFLICT (name) DO UPDATE SET times = greetings.times + 1 RETURNING times`, chi.URLParam(r, "name")).Scan(&g.Times)
	if err != nil {
		return err
	}
	return httpjson.Write(w, http.StatusOK, g)
}
