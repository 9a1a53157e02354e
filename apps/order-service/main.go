// Command order-service stores orders, changes their status and publishes their events.
package main

import (
	"context"
	"embed"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/outbox"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/verify"
	"platform.example/apps/order-service/internal/api"
	"platform.example/apps/order-service/internal/store"
)

const name = "order-service"

// migrations only extend the schema, because the previous release runs on the new schema.
//
//go:embed migrations/*.sql
var migrations embed.FS

func main() { service.Main(name, commands()) }

func commands() service.Commands {
	return service.Commands{
		"":        serve,
		"migrate": service.Migrate(name, migrations),
		"replay":  replay,
		// The orders of a user without orders: the service reads Postgres. No read depends on the stream,
		// whose state /health reports.
		"verify": verify.Command(name, verify.AsUnknownUser(name, verify.Probe{Path: "/orders", Want: []int{http.StatusOK}})),
	}
}

var serve = service.Serve(service.Definition{
	Name: name, Postgres: true, Stream: true,
	Configure: func(*config.Env) service.Build { return build },
})

func build(b service.Base) (service.API, error) {
	relay := outbox.NewRelay(store.Outbox, b.Postgres, b.Stream, b.Log, b.Registry, b.Tracer)
	orders := store.New(b.Postgres, relay.Wake)
	deletions := consumer.New(consumer.Definition{
		Service: name, Stream: event.Users, Group: name, Handle: store.Anonymise, Types: []event.Type{event.UserDeleted}, Idempotent: true,
	}, b.Stream, b.Postgres, b.Log, b.Registry, b.Tracer)
	return service.API{
		Routes:     api.API{Orders: orders}.Register,
		Background: []background.Work{deletions.Watch},
		WhileLive:  []background.Work{relay.Run, deletions.Run},
		Chores:     append(deletions.Chores(), relay.Trim, relay.Forget, orders.Forget),
	}, nil
}

// replay makes the running replicas publish the events of the last REPLAY_SINCE again, for a consumer that
// has lost its results. Other consumers skip the events by their ids.
var replay = service.OnPostgres(name, func(env *config.Env) service.Work {
	since := config.Parsed(env, "REPLAY_SINCE", config.Duration(time.Minute, outbox.Retention))
	return func(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
		n, err := store.Outbox.Replay(ctx, pool, time.Now().Add(-since))
		if err != nil {
			return err
		}
		log.Info("events are published again", "events", n, "since", since.String())
		return nil
	}
})
