// Package migration is the subcommand that brings the database of a service up
// to date, before replicas of its version start.
package migration

import (
	"context"
	"io/fs"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/service"
	"platform.example/apps/internal/telemetry"
)

// Command applies the migrations in files that the database of the service
// called name doesn't have yet.
func Command(name string, files fs.FS) service.Command {
	return func(ctx context.Context, p service.Process) error {
		env := config.From(p.Lookup)
		self := config.ReadService(env, name)
		database := postgres.ReadConfig(env)
		if err := env.Err(); err != nil {
			return err
		}
		return postgres.Migrate(ctx, database, files, telemetry.NewLogger(p.Stdout, self))
	}
}
