package main

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/redis"
	"platform.example/apps/internal/service"
	"platform.example/apps/notification-service/internal/store"
)

// redrive has the dead letters of all streams handled again, and the deliveries that were given up made again.
func redrive(ctx context.Context, p service.Process) error {
	var streamAt redis.Config
	return service.OnPostgres(name, func(env *config.Env) { streamAt = redis.ReadStream(env) },
		func(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
			client := redis.Open(streamAt, log, prometheus.NewRegistry())
			defer func() { _ = client.Close() }()
			orders, err := consumer.Redrive(ctx, client, event.Orders)
			if err != nil {
				return err
			}
			users, err := consumer.Redrive(ctx, client, event.Users)
			if err != nil {
				return err
			}
			deliveries, err := store.New(pool).DeliverAgain(ctx)
			if err != nil {
				return err
			}
			log.Info("what was given up is tried again", "order_events", orders, "user_events", users, "deliveries", deliveries)
			return nil
		})(ctx, p)
}
