// Command user-service stores users and their sessions.
package main

import (
	"embed"
	"net/http"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/outbox"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/verify"
	"platform.example/apps/user-service/internal/api"
	"platform.example/apps/user-service/internal/audit"
	"platform.example/apps/user-service/internal/cache"
	"platform.example/apps/user-service/internal/password"
	"platform.example/apps/user-service/internal/session"
	"platform.example/apps/user-service/internal/store"
)

const name = "user-service"

// migrations only extend the schema, because the previous release runs on the new schema.
//
//go:embed migrations/*.sql
var migrations embed.FS

func main() { service.Main(name, commands()) }

func commands() service.Commands {
	return service.Commands{
		"":          serve,
		"migrate":   service.Migrate(name, migrations),
		"seed-demo": seedDemo,
		"admin":     admin,
		// A user who doesn't exist: the service reads Redis first, and then Postgres.
		"verify": verify.Command(name, verify.AsUnknownUser(name, verify.Probe{Path: "/users/", Want: []int{http.StatusNotFound}, Proof: "X-Cache"})),
	}
}

var serve = service.Serve(service.Definition{
	Name: name, Postgres: true, Cache: true, Stream: true,
	Configure: func(*config.Env) service.Build { return build },
})

func build(b service.Base) (service.API, error) {
	users := store.New(b.Postgres)
	sessions, log := session.New(b.Postgres, b.Log), audit.New(b.Postgres)
	cached := cache.New(b.Cache, users.Get, b.Log, b.Registry)
	events := outbox.NewRelay(store.Outbox, b.Postgres, b.Stream, b.Log, b.Registry, b.Tracer)
	mails := outbox.NewRelay(store.Mails, b.Postgres, b.Stream, b.Log, b.Registry, b.Tracer)
	return service.API{
		Routes:    api.API{Users: users, Cache: cached, Passwords: password.NewHasher(), Sessions: sessions, Log: log}.Register,
		WhileLive: []background.Work{events.Run, mails.Run},
		Chores:    []background.Chore{events.Trim, events.Forget, mails.Trim, mails.Forget, sessions.Sweep, log.Sweep, users.Forget},
	}, nil
}
