package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"platform.example/apps/internal/postgres"
	"platform.example/apps/notification-service/internal/notification"
)

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
