// Package outbox publishes what happens in a service's database to a stream, at
// least once and in order per subject, such as an order.
//
// An event is written in the transaction of the change that it is about, while
// the subject's row is locked: ids of the same subject therefore follow its
// commits. A Relay adds it to the stream afterwards and notes where. Should it
// die in between, the event is published twice, never not at all.
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

// Retention is how long an event can be published again: seven days from when it
// happened, or until it is published should that take longer.
const Retention = 7 * 24 * time.Hour

// Outbox is a table of events: as order-service's first migration creates
// outbox, with a column of its own for the subject.
type Outbox struct {
	Service string       // whose database it is in; metrics have its name
	Stream  event.Stream // to which the events are published
	Table   string
	Subject string // the column of the id of what an event is about
	// Groups are consumer groups without which nothing is trimmed: what they are to get must be there when they join.
	Groups []string
}

// Add queues the statement that writes an event. The batch must run in the
// transaction that locks or creates the subject.
func (o Outbox) Add(ctx context.Context, batch *pgx.Batch, what event.Type, at time.Time, subject uuid.UUID, data any) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("making the id of an event: %w", err)
	}
	batch.Queue(o.sql(`INSERT INTO outbox (event_id, subject, type, payload, traceparent, occurred_at)
		VALUES ($1, $2, $3, $4, $5, $6)`), id, subject, what, data, traceparent(ctx), at)
	return nil
}

// sql returns a statement on a table outbox and its column subject as one on those of o.
func (o Outbox) sql(statement string) string {
	return strings.NewReplacer("outbox", o.Table, "subject", o.Subject).Replace(statement)
}

// traceparent is the W3C trace context of the request that ctx belongs to, or "".
func traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	telemetry.Propagate(ctx, carrier)
	return carrier.Get("traceparent")
}
