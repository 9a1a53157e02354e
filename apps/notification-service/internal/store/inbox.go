// Package store stores notifications, their deliveries to the webhook, and deleted users in Postgres.
package store

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/notification-service/internal/notification"
)

// Store is the database of notifications. Its errors are those of postgres.Failure.
type Store struct{ pool *pgxpool.Pool }

// New returns the store in the database of pool.
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }

// columns lists the columns in the order of the fields of notification.Notification.
const columns = "id, user_id, type, title, body, order_id, created_at, read_at"

// List returns up to limit notifications of a user that are older than the given one (uuid.Max: from the
// newest), newest first. With unread it returns only unread ones.
func (s *Store) List(ctx context.Context, user, before uuid.UUID, unread bool, limit int) ([]notification.Notification, error) {
	sql := "SELECT " + columns + " FROM notifications WHERE user_id = $1 AND id < $2"
	if unread {
		sql += " AND read_at IS NULL" // the condition of the partial index
	}
	rows, _ := s.pool.Query(ctx, sql+" ORDER BY id DESC LIMIT $3", user, before, limit) // CollectRows returns the error
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[notification.Notification])
	return found, postgres.Failure("listing notifications", err)
}

// Unread returns the number of unread notifications of a user.
func (s *Store) Unread(ctx context.Context, user uuid.UUID) (int, error) {
	var count int
	err := s.pool.QueryRow(ctx, "SELECT count(*) FROM notifications WHERE user_id = $1 AND read_at IS NULL", user).Scan(&count)
	return count, postgres.Failure("counting unread notifications", err)
}

// MarkRead marks a notification of the user as read, or one of any user if anyUser is true. It keeps the time
// of an earlier call. It fails with problem.NotFound if there is no such notification.
func (s *Store) MarkRead(ctx context.Context, id, user uuid.UUID, anyUser bool) error {
	result, err := s.pool.Exec(ctx, "UPDATE notifications SET read_at = coalesce(read_at, now()) WHERE id = $1 AND (user_id = $2 OR $3)",
		id, user, anyUser)
	if err != nil {
		return postgres.Failure("marking a notification as read", err)
	}
	if result.RowsAffected() == 0 {
		return problem.New(problem.NotFound, "There is no such notification.", nil)
	}
	return nil
}

// MarkAllRead marks all notifications of the user as read.
func (s *Store) MarkAllRead(ctx context.Context, user uuid.UUID) error {
	_, err := s.pool.Exec(ctx, "UPDATE notifications SET read_at = now() WHERE user_id = $1 AND read_at IS NULL", user)
	return postgres.Failure("marking all notifications as read", err)
}
