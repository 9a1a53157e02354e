// Package outbox publishes the events of a service's database to a stream: at least once, and in order for
// each subject, such as an order.
//
// A service writes an event in the transaction of the change that the event describes, while the row of the
// subject is locked. The ids of one subject's events therefore follow the order of its commits. A Relay adds
// the event to the stream afterwards, and records its position there. If the relay dies in between, the event
// is published twice, but is never lost.
package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/propagation"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/telemetry"
)

// Retention is how long an event can be published again: seven days from its occurrence, or until it is
// published if that takes longer.
const Retention = 7 * 24 * time.Hour

// Outbox is a table of events like the table outbox that order-service's first migration creates, with its
// own column for the subject.
type Outbox struct {
	Service string       // the owner of the database; metrics are named after it
	Stream  event.Stream // the events are published to this stream
	Table   string
	Subject string // the column with the id of an event's subject
	// Groups are the consumer groups that must exist before the stream is trimmed: a group receives the
	// events from before it joined.
	Groups []string
}

// Add queues the statement that writes an event. The batch must run in the transaction that locks or creates
// the subject.
func (o Outbox) Add(ctx context.Context, batch *pgx.Batch, eventType event.Type, at time.Time, subject uuid.UUID, data any) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("creating the id of an event: %w", err)
	}
	batch.Queue(o.sql(`INSERT INTO outbox (event_id, subject, type, payload, traceparent, occurred_at)
		VALUES ($1, $2, $3, $4, $5, $6)`), id, subject, eventType, data, traceparent(ctx), at)
	return nil
}

// sql rewrites a statement on the table outbox and its column subject to the table and the column of o.
func (o Outbox) sql(statement string) string {
	return strings.NewReplacer("outbox", o.Table, "subject", o.Subject).Replace(statement)
}

// traceparent returns the W3C trace context of the request that ctx belongs to, or "".
func traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	telemetry.Propagate(ctx, carrier)
	return carrier.Get("traceparent")
}
