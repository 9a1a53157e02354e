package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/notification-service/internal/notification"
)

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
		return func(ctx context.Context, db postgres.Execer) error {
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
	return func(ctx context.Context, db postgres.Execer) error {
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
