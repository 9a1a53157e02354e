// Package event is what services tell each other through the stream: the form
// of an event and where it stands, which publisher and consumers share.
package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
)

const (
	// OrderStream holds the events of orders, in order per order.
	OrderStream = "orders:events"
	// DeadLetters holds the events of OrderStream that a consumer could not handle.
	DeadLetters = OrderStream + ":dead"
)

// Type says what happened.
type Type string

// What happens to orders.
const (
	OrderCreated   Type = "order.created"
	OrderPaid      Type = "order.paid"
	OrderShipped   Type = "order.shipped"
	OrderDelivered Type = "order.delivered"
	OrderCancelled Type = "order.cancelled"
)

// Event is something that happened, told at least once: who consumes it must
// know by the ID what it has handled already.
type Event struct {
	ID          uuid.UUID
	Type        Type
	OccurredAt  time.Time
	Traceparent string // W3C trace context of the request that caused it; may be empty
	Order       Order
}

// Within returns ctx as a part of the request that caused e.
func (e Event) Within(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": e.Traceparent})
}

// Order is an order right after the event. It holds no personal data but the user's id.
type Order struct {
	ID       uuid.UUID `json:"id"`
	UserID   uuid.UUID `json:"user_id"`
	Status   string    `json:"status"`
	Total    int64     `json:"total"`    // minor units of the currency
	Currency string    `json:"currency"` // ISO 4217
	Version  int64     `json:"version"`  // grows with every change of the order
}

// The fields of a stream's entry.
const (
	fieldID          = "id"
	fieldType        = "type"
	fieldOccurredAt  = "occurred_at"
	fieldTraceparent = "traceparent"
	fieldOrder       = "order"
)

// Fields are the fields of the entry that tells e, as name, value, name, value.
func (e Event) Fields() ([]any, error) {
	order, err := json.Marshal(e.Order)
	if err != nil {
		return nil, fmt.Errorf("encoding event %s: %w", e.ID, err)
	}
	return []any{
		fieldID, e.ID.String(),
		fieldType, string(e.Type),
		fieldOccurredAt, e.OccurredAt.UTC().Format(time.RFC3339Nano),
		fieldTraceparent, e.Traceparent,
		fieldOrder, string(order),
	}, nil
}

// Parse reads the fields of an entry. It fails where they are no event, and
// leaves it to the consumer whether it knows the type.
func Parse(fields map[string]any) (Event, error) {
	text := func(name string) string { value, _ := fields[name].(string); return value }
	id, idErr := uuid.Parse(text(fieldID))
	occurredAt, timeErr := time.Parse(time.RFC3339Nano, text(fieldOccurredAt))
	e := Event{ID: id, Type: Type(text(fieldType)), OccurredAt: occurredAt, Traceparent: text(fieldTraceparent)}
	orderErr := json.Unmarshal([]byte(text(fieldOrder)), &e.Order)
	if err := errors.Join(idErr, timeErr, orderErr); err != nil {
		return Event{}, fmt.Errorf("reading an event: %w", err)
	}
	if e.Type == "" || e.Order.ID == uuid.Nil || e.Order.UserID == uuid.Nil {
		return Event{}, errors.New("reading an event: its type, order or user is missing")
	}
	return e, nil
}
