// Package store stores notifications, their deliveries to the webhook, and deleted users in Postgres.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
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

const (
	// notificationsKept is how long a notification is kept, read or not.
	notificationsKept = 180 * 24 * time.Hour
	// deliveriesKept is how long a finished delivery is kept.
	deliveriesKept = 30 * 24 * time.Hour
)

// Notify returns a handler of the events of orders. It adds a notification to the inbox of the order's user
// and, if deliver is true, a delivery to the webhook.
func Notify(deliver bool) func(event.Event) (consumer.Effect, error) {
	return func(e event.Event) (consumer.Effect, error) {
		n, err := notification.From(e)
		return func(ctx context.Context, db postgres.DB) error {
			if n.UserID == uuid.Nil { // the user is deleted
				return nil
			}
			_, err := db.Exec(ctx, `
				WITH added AS (
					INSERT INTO notifications (id, user_id, type, title, body, order_id, created_at)
					SELECT $1::uuid, $2::uuid, $3::text, $4::text, $5::text, $6::uuid, $7::timestamptz
					WHERE NOT EXISTS (SELECT FROM deleted_users WHERE user_id = $2) ON CONFLICT DO NOTHING RETURNING id
				) INSERT INTO webhook_deliveries (notification_id) SELECT id FROM added WHERE $8`,
				n.ID, n.UserID, n.Type, n.Title, n.Body, n.OrderID, n.CreatedAt, deliver)
			return err
		}, err
	}
}

// Forget handles event.UserDeleted: it deletes the user's notifications, and later events of orders add none.
func Forget(e event.Event) (consumer.Effect, error) {
	user, err := event.Data[event.User](e)
	return func(ctx context.Context, db postgres.DB) error {
		if _, err := db.Exec(ctx, "INSERT INTO deleted_users (user_id) VALUES ($1) ON CONFLICT DO NOTHING", user.ID); err != nil {
			return err
		}
		return postgres.DeleteInBatches(ctx, db, "deleting the notifications of a user", `DELETE FROM notifications WHERE id IN (
			SELECT id FROM notifications WHERE user_id = $1 LIMIT $2)`, user.ID)
	}, err
}

// Sweep deletes expired notifications, deliveries and records of deleted users.
func (s *Store) Sweep(ctx context.Context) error {
	return errors.Join(postgres.DeleteOld(ctx, s.pool, "notifications", "id", "created_at", notificationsKept),
		postgres.DeleteOld(ctx, s.pool, "deleted_users", "user_id", "deleted_at", notificationsKept),
		postgres.DeleteOld(ctx, s.pool, "webhook_deliveries", "notification_id", "coalesce(delivered_at, gave_up_at)", deliveriesKept))
}

// Delivery is one attempt to deliver a notification to the webhook.
type Delivery struct {
	notification.Notification
	Attempt int // starts at 1
}

// pending is the condition of the partial index.
const pending = "delivered_at IS NULL AND gave_up_at IS NULL"

// TakeDeliveries starts an attempt for up to limit due deliveries. They belong to the caller for the time
// lease, without a transaction or a lock. A delivery that isn't settled by then is due again.
func (s *Store) TakeDeliveries(ctx context.Context, limit int, lease time.Duration) ([]Delivery, error) {
	rows, _ := s.pool.Query(ctx, `
		WITH due AS (
			SELECT notification_id FROM webhook_deliveries WHERE `+pending+` AND next_attempt_at <= now()
			ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED
		), taken AS (
			UPDATE webhook_deliveries d SET attempts = attempts + 1, next_attempt_at = now() + $2::interval
			FROM due WHERE d.notification_id = due.notification_id RETURNING d.notification_id, d.attempts
		)
		SELECT `+columns+`, attempts FROM taken JOIN notifications ON id = notification_id`, limit, lease)
	taken, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Delivery]) // returns the error of the query, too
	return taken, postgres.Failure("taking deliveries", err)
}

// Delivered settles d as delivered.
func (s *Store) Delivered(ctx context.Context, d Delivery) error {
	return s.settle(ctx, d, "delivered_at = now(), last_error = NULL")
}

// Retry settles d as due again after the given time.
func (s *Store) Retry(ctx context.Context, d Delivery, after time.Duration, reason string) error {
	return s.settle(ctx, d, "next_attempt_at = now() + $3::interval, last_error = $4", after, reason)
}

// GiveUp settles d as given up.
func (s *Store) GiveUp(ctx context.Context, d Delivery, reason string) error {
	return s.settle(ctx, d, "gave_up_at = now(), last_error = $3", reason)
}

// Release makes d due again without counting the attempt.
func (s *Store) Release(ctx context.Context, d Delivery) error {
	return s.settle(ctx, d, "attempts = attempts - 1, next_attempt_at = now()")
}

// settle updates a delivery. It changes nothing if the lease has expired and another replica has taken the
// delivery.
func (s *Store) settle(ctx context.Context, d Delivery, set string, args ...any) error {
	_, err := s.pool.Exec(ctx, "UPDATE webhook_deliveries SET "+set+
		" WHERE notification_id = $1 AND attempts = $2 AND "+pending,
		append([]any{d.ID, d.Attempt}, args...)...)
	return postgres.Failure("settling a delivery", err)
}

// RestartDeliveries starts over with the deliveries that were given up, and returns their number.
func (s *Store) RestartDeliveries(ctx context.Context) (int64, error) {
	result, err := s.pool.Exec(ctx, "UPDATE webhook_deliveries SET gave_up_at = NULL, attempts = 0, next_attempt_at = now() WHERE gave_up_at IS NOT NULL")
	return result.RowsAffected(), postgres.Failure("redriving deliveries", err)
}

// PendingDeliveries returns the number of deliveries that are neither delivered nor given up.
func (s *Store) PendingDeliveries(ctx context.Context) (int, error) {
	var count int
	err := s.pool.QueryRow(ctx, "SELECT count(*) FROM webhook_deliveries WHERE "+pending).Scan(&count)
	return count, postgres.Failure("counting deliveries", err)
}
