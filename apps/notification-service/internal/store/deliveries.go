package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"platform.example/apps/internal/postgres"
	"platform.example/apps/notification-service/internal/notification"
)

// Delivery is an attempt to deliver a notification to the webhook.
type Delivery struct {
	notification.Notification
	Attempt int // from 1
}

// pending is the condition of the partial index.
const pending = "delivered_at IS NULL AND gave_up_at IS NULL"

// TakeDeliveries begins an attempt at up to limit deliveries that are due.
// They are the caller's for lease: no transaction and no lock is held
// meanwhile, and what isn't settled by then is due again.
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

// Delivered settles d: the receiver has it.
func (s *Store) Delivered(ctx context.Context, d Delivery) error {
	return s.settle(ctx, d, "delivered_at = now(), last_error = NULL")
}

// Retry settles d: it is due again after that time.
func (s *Store) Retry(ctx context.Context, d Delivery, after time.Duration, reason string) error {
	return s.settle(ctx, d, "next_attempt_at = now() + $3::interval, last_error = $4", after, reason)
}

// GiveUp settles d: it is not tried again.
func (s *Store) GiveUp(ctx context.Context, d Delivery, reason string) error {
	return s.settle(ctx, d, "gave_up_at = now(), last_error = $3", reason)
}

// Release gives d back as if the attempt had not begun.
func (s *Store) Release(ctx context.Context, d Delivery) error {
	return s.settle(ctx, d, "attempts = attempts - 1, next_attempt_at = now()")
}

// settle changes nothing where the lease has run out and another has taken it.
func (s *Store) settle(ctx context.Context, d Delivery, set string, args ...any) error {
	_, err := s.pool.Exec(ctx, "UPDATE webhook_deliveries SET "+set+
		" WHERE notification_id = $1 AND attempts = $2 AND "+pending,
		append([]any{d.ID, d.Attempt}, args...)...)
	return postgres.Failure("settling a delivery", err)
}

// DeliverAgain starts over with the deliveries that were given up, and returns their number.
func (s *Store) DeliverAgain(ctx context.Context) (int64, error) {
	done, err := s.pool.Exec(ctx, "UPDATE webhook_deliveries SET gave_up_at = NULL, attempts = 0, next_attempt_at = now() WHERE gave_up_at IS NOT NULL")
	return done.RowsAffected(), postgres.Failure("redriving deliveries", err)
}

// PendingDeliveries counts what is neither delivered nor given up.
func (s *Store) PendingDeliveries(ctx context.Context) (int, error) {
	var count int
	err := s.pool.QueryRow(ctx, "SELECT count(*) FROM webhook_deliveries WHERE "+pending).Scan(&count)
	return count, postgres.Failure("counting deliveries", err)
}
