package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/outbox"
	"platform.example/apps/internal/service"
	"platform.example/apps/order-service/internal/store"
)

// replay makes the running replicas publish the events of the last REPLAY_SINCE again, for a consumer that
// has lost its results. Other consumers skip the events by their ids.
func replay(ctx context.Context, p service.Process) error {
	var since time.Duration
	return service.OnPostgres(name, func(env *config.Env) {
		since = config.Parsed(env, "REPLAY_SINCE", config.Duration(time.Minute, outbox.Retention))
	}, func(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) error {
		n, err := store.Outbox().Replay(ctx, pool, time.Now().Add(-since))
		if err != nil {
			return err
		}
		log.Info("events are published again", "events", n, "since", since.String())
		return nil
	})(ctx, p)
}
