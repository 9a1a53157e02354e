package main

import (
	"context"
	"time"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/telemetry"
	"platform.example/apps/order-service/internal/outbox"
)

// replay has the events of the last REPLAY_SINCE told again, by the replicas
// that serve: for a consumer that has lost what it made of them. Consumers that
// have not know them by their ids.
func replay(ctx context.Context, p service.Process) error {
	env := config.From(p.Lookup)
	self := config.ReadService(env, name)
	database := postgres.ReadConfig(env)
	since := config.Parsed(env, "REPLAY_SINCE", config.Duration(time.Minute, outbox.Retention))
	if err := env.Err(); err != nil {
		return err
	}
	log := telemetry.NewLogger(p.Stdout, self)
	pool, err := postgres.Connect(ctx, database, log)
	if err != nil {
		return err
	}
	defer pool.Close()
	n, err := outbox.Replay(ctx, pool, time.Now().Add(-since))
	if err != nil {
		return err
	}
	log.Info("events are told again", "events", n, "since", since.String())
	return nil
}
