package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// lockTimeout makes a migration fail instead of waiting for a table lock while all other queries wait behind
// it.
const lockTimeout = "5s"

// Migrate applies the pending migrations. If several processes migrate at the same time, one works and the
// others wait for a session lock, so it needs a connection without a pooler in transaction mode.
func Migrate(ctx context.Context, c Config, migrations fs.FS, log *slog.Logger) (err error) {
	poolConfig, err := c.pool()
	if err != nil {
		return err
	}
	poolConfig.AfterConnect = func(ctx context.Context, connection *pgx.Conn) error {
		// Not the role's timeout of statements: an index on a large table takes as long as it takes.
		_, err := connection.Exec(ctx, "SELECT set_config('lock_timeout', $1, false), set_config('statement_timeout', '0', false)", lockTimeout)
		return err
	}
	pool, err := connect(ctx, poolConfig, log)
	if err != nil {
		return err
	}
	defer pool.Close()
	db := stdlib.OpenDBFromPool(pool)
	defer func() { err = errors.Join(err, db.Close()) }()

	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // tries every second for 5 min
	if err != nil {
		return fmt.Errorf("preparing the migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	applied, err := provider.Up(ctx)
	for _, result := range applied {
		log.Info("migration applied", "file", result.Source.Path, "duration", result.Duration)
	}
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	log.Info("schema is up to date", "applied", len(applied))
	return nil
}
