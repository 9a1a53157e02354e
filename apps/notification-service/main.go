// Command notification-service notifies users about their orders: in an inbox, and through a webhook if one
// is configured. It also sends emails about accounts.
package main

import (
	"context"
	"embed"
	"log/slog"
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/redis"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/verify"
	"platform.example/apps/notification-service/internal/api"
	"platform.example/apps/notification-service/internal/mail"
	"platform.example/apps/notification-service/internal/notification"
	"platform.example/apps/notification-service/internal/store"
	"platform.example/apps/notification-service/internal/webhook"
)

const name = "notification-service"

// migrations only extend the schema, because the previous release runs on the new schema.
//
//go:embed migrations/*.sql
var migrations embed.FS

func main() { service.Main(name, commands()) }

func commands() service.Commands {
	return service.Commands{
		"":        serve,
		"migrate": service.Migrate(name, migrations),
		"redrive": redrive,
		// The inbox of a user without notifications: the service reads Postgres. No read depends on the
		// stream, whose state /health reports.
		"verify": verify.Command(name, verify.AsUnknownUser(name, verify.Probe{Path: "/notifications", Want: []int{http.StatusOK}})),
	}
}

var serve = service.Serve(service.Definition{
	Name: name, Postgres: true, Stream: true,
	Configure: func(env *config.Env) service.Build {
		webhookConfig, mailConfig := webhook.ReadConfig(env), mail.ReadConfig(env)
		return func(b service.Base) (service.API, error) { return build(b, webhookConfig, mailConfig) }
	},
})

func build(b service.Base, webhookConfig webhook.Config, mailConfig mail.Config) (service.API, error) {
	notifications := store.New(b.Postgres)
	hasWebhook := webhookConfig.URL != nil
	result := service.API{Routes: api.API{Store: notifications}.Register, Chores: []background.Chore{notifications.Sweep}}
	consume := func(d consumer.Definition) {
		d.Service = name
		c := consumer.New(d, b.Stream, b.Postgres, b.Log, b.Registry, b.Tracer)
		result.Background, result.WhileLive = append(result.Background, c.Watch), append(result.WhileLive, c.Run)
		result.Chores = append(result.Chores, c.Chores()...)
	}
	consume(consumer.Definition{Stream: event.Orders, Group: name, Handle: store.Notify(hasWebhook), Types: notification.Types()})
	consume(consumer.Definition{Stream: event.Users, Group: name + "-users", Handle: store.Forget, Types: []event.Type{event.UserDeleted}, Idempotent: true})
	send, ops, err := mailer(mailConfig, b.Log)
	if err != nil {
		return result, err
	}
	result.Ops = ops
	consume(consumer.Definition{Stream: event.Mails, Group: name + "-mail", Handle: mail.Handle(send, mailConfig.Page), Types: mail.Types(), Idempotent: true, Discard: true})
	if hasWebhook {
		deliveries := webhook.New(webhookConfig, webhook.DefaultRetry, notifications, b.Log, b.Registry)
		result.Background = append(result.Background, deliveries.Watch)
		result.WhileLive = append(result.WhileLive, deliveries.Run)
	}
	return result, nil
}

// mailer returns the Sender of emails, and the handlers by path that show the emails of a Sink.
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

// redrive moves the dead letters of the streams back, and retries the deliveries that were given up.
var redrive = service.OnPostgres(name, func(env *config.Env) service.Work {
	stream := redis.ReadStream(env)
	return func(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
		client := redis.Open(stream, log, prometheus.NewRegistry())
		defer func() { _ = client.Close() }()
		orders, err := consumer.Redrive(ctx, client, event.Orders)
		if err != nil {
			return err
		}
		users, err := consumer.Redrive(ctx, client, event.Users)
		if err != nil {
			return err
		}
		deliveries, err := store.New(pool).RestartDeliveries(ctx)
		if err != nil {
			return err
		}
		log.Info("dead letters and deliveries are retried", "order_events", orders, "user_events", users, "deliveries", deliveries)
		return nil
	}
})
