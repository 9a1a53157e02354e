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

// redrive moves the dead letters of the streams back, and retries the deliveries that were given up.
func redrive(ctx context.Context, p service.Process) error {
	var stream redis.Config
	return service.OnPostgres(name, func(env *config.Env) { stream = redis.ReadStream(env) },
		func(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
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
		})(ctx, p)
}
