// Command notification-service tells users what happens to their orders: in an
// inbox of each, and through a webhook where one is configured.
package main

import (
	"context"
	"embed"
	"net/http"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/verify"
	"platform.example/apps/notification-service/internal/api"
	"platform.example/apps/notification-service/internal/consumer"
	"platform.example/apps/notification-service/internal/store"
	"platform.example/apps/notification-service/internal/webhook"
)

const name = "notification-service"

// migrations only expand what is there: the previous release runs on the new schema.
//
//go:embed migrations/*.sql
var migrations embed.FS

func main() { service.Main(name, commands()) }

func commands() service.Commands {
	return service.Commands{
		"":        serve,
		"migrate": service.Migrate(name, migrations),
		// The inbox of a user who has nothing in it: Postgres is asked. The stream
		// isn't, for no read depends on it; /health says how it is.
		"verify": verify.Command(name, verify.AsNobody(name, verify.Probe{Path: "/notifications", Want: []int{http.StatusOK}})),
	}
}

func serve(ctx context.Context, p service.Process) error {
	var receiver webhook.Config
	return service.Serve(service.Definition{
		Name: name, Postgres: true, Stream: true,
		Configure: func(env *config.Env) { receiver = webhook.ReadConfig(env) },
		Build: func(b service.Base) (service.API, error) {
			notifications := store.New(b.Postgres)
			toDeliver := receiver.URL != nil
			events := consumer.New(b.Stream, notifications, toDeliver, consumer.StaleAfter, b.Log, b.Registry, b.Tracer)
			built := service.API{
				Routes:     api.New(notifications).Register,
				Background: []background.Work{events.Watch},
				WhileLive:  []background.Work{events.Run, events.KeepHouse},
			}
			if toDeliver {
				deliveries := webhook.New(receiver, webhook.DefaultRetry(), notifications, b.Log, b.Registry)
				built.Background = append(built.Background, deliveries.Watch)
				built.WhileLive = append(built.WhileLive, deliveries.Run)
			}
			return built, nil
		},
	})(ctx, p)
}
