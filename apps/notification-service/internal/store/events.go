package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/postgres"
	"platform.example/apps/notification-service/internal/notification"
)

// Effect is what handling an event leaves in the database.
type Effect struct {
	Consumer     string // who handles it: each consumer handles every event once
	EventID      uuid.UUID
	Notification notification.Notification
	Deliver      bool // to the webhook, too
}

// Apply applies the effect of an event unless that was done before, and reports
// whether it did. It is one statement and so one transaction: of several at
// once, for the same event, one inserts the row of handled_events and the
// others wait for how that ends.
func (s *Store) Apply(ctx context.Context, e Effect) (applied bool, err error) {
	n := e.Notification
	err = s.pool.QueryRow(ctx, `
		WITH first AS (
			INSERT INTO handled_events (consumer, event_id) VALUES ($1, $2)
			ON CONFLICT DO NOTHING RETURNING event_id
		), told AS (
			INSERT INTO notifications (id, user_id, type, title, body, order_id)
			SELECT $3::uuid, $4::uuid, $5::text, $6::text, $7::text, $8::uuid FROM first RETURNING id
		), due AS (
			INSERT INTO webhook_deliveries (notification_id) SELECT id FROM told WHERE $9::boolean
		)
		SELECT EXISTS (SELECT FROM first)`,
		e.Consumer, e.EventID, n.ID, n.UserID, n.Type, n.Title, n.Body, n.OrderID, e.Deliver).Scan(&applied)
	if err != nil {
		return false, postgres.Failure("applying an event", err)
	}
	return applied, nil
}

// ForgetEvents deletes what says that an event was handled longer than age ago.
// An event that comes again after that has its effect again.
func (s *Store) ForgetEvents(ctx context.Context, age time.Duration) error {
	return postgres.DeleteInBatches(ctx, s.pool, "forgetting handled events", `DELETE FROM handled_events WHERE (consumer, event_id) IN (
		SELECT consumer, event_id FROM handled_events WHERE handled_at < now() - $1::interval
		ORDER BY handled_at LIMIT $2)`, age)
}
