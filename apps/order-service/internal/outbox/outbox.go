// Package outbox tells the stream what happens to orders, at least once and in
// order per order.
//
// An event is written in the transaction of the change that it tells of, while
// the order's row is locked: ids of the same order therefore follow its
// commits. A Relay adds it to the stream afterwards and notes where. Should it
// die in between, the event is told twice, never not at all.
package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/propagation"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/telemetry"
)

// Retention is how long an event can be told again: seven days from when it
// happened, or until it is published should that take longer.
const Retention = 7 * 24 * time.Hour

// Add has batch write the event that o, just changed, tells of. The batch must
// run in the transaction that locks or creates the order.
func Add(ctx context.Context, batch *pgx.Batch, what event.Type, at time.Time, o event.Order) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("making the id of an event: %w", err)
	}
	batch.Queue(`INSERT INTO outbox (event_id, order_id, type, payload, traceparent, occurred_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, id, o.ID, what, o, traceparent(ctx), at)
	return nil
}

// traceparent is the W3C trace context of the request that ctx belongs to, or "".
func traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	telemetry.Propagate(ctx, carrier)
	return carrier.Get("traceparent")
}
