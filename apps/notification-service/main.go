// Command notification-service tells users what happens to their orders: in an
// inbox of each, and through a webhook where one is configured.
package main

import (
	"context"
	"embed"
	"log/slog"
	"net/http"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/verify"
	"platform.example/apps/notification-service/internal/api"
	"platform.example/apps/notification-service/internal/mail"
	"platform.example/apps/notification-service/internal/notification"
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
		"redrive": redrive,
		// The inbox of a user who has nothing in it: Postgres is asked. The stream
		// isn't, for no read depends on it; /health says how it is.
		"verify": verify.Command(name, verify.AsNobody(name, verify.Probe{Path: "/notifications", Want: []int{http.StatusOK}})),
	}
}

func serve(ctx context.Context, p service.Process) error {
	var (
		receiver webhook.Config
		emails   mail.Config
	)
	return service.Serve(service.Definition{
		Name: name, Postgres: true, Stream: true,
		Configure: func(env *config.Env) { receiver, emails = webhook.ReadConfig(env), mail.ReadConfig(env) },
		Build: func(b service.Base) (service.API, error) {
			notifications := store.New(b.Postgres)
			toDeliver := receiver.URL != nil
			built := service.API{Routes: api.New(notifications).Register, Chores: []background.Chore{notifications.Sweep}}
			consume := func(d consumer.Definition) {
				d.Service = name
				c := consumer.New(d, b.Stream, b.Postgres, b.Log, b.Registry, b.Tracer)
				built.Background, built.WhileLive = append(built.Background, c.Watch), append(built.WhileLive, c.Run)
				built.Chores = append(built.Chores, c.Chores()...)
			}
			consume(consumer.Definition{Stream: event.Orders, Group: name, Handle: store.Notify(toDeliver), Types: notification.Types()})
			consume(consumer.Definition{Stream: event.Users, Group: name + "-users", Handle: store.Forget, Types: []event.Type{event.UserDeleted}, Idempotent: true})
			send, ops, err := mailer(emails, b.Log)
			if err != nil {
				return built, err
			}
			built.Ops = ops
			consume(consumer.Definition{Stream: event.Mails, Group: name + "-mail", Handle: mail.Handle(send, emails.Page), Types: mail.Types(), Idempotent: true, Discard: true})
			if toDeliver {
				deliveries := webhook.New(receiver, webhook.DefaultRetry(), notifications, b.Log, b.Registry)
				built.Background = append(built.Background, deliveries.Watch)
				built.WhileLive = append(built.WhileLive, deliveries.Run)
			}
			return built, nil
		},
	})(ctx, p)
}

// mailer returns what sends emails, and where the last ones can be read instead.
func mailer(c mail.Config, log *slog.Logger) (mail.Sender, map[string]http.Handler, error) {
	switch {
	case c.Server != nil:
		send, err := mail.NewSMTP(c, log)
		return send, nil, err
	case c.Sink:
		sink := &mail.Sink{}
		return sink.Send, map[string]http.Handler{"/mails": sink}, nil
	}
	return func(ctx context.Context, m mail.Mail) error {
		log.WarnContext(ctx, "an email is not sent: there is no mail server (SMTP_SERVER)", "subject", m.Subject)
		return nil
	}, nil, nil
}
