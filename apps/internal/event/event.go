// Package event defines the events that services exchange through streams. Publisher and consumers share it.
package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
)

// Stream is the key of a Redis stream. One service publishes to it.
type Stream string

// The streams.
const (
	Orders Stream = "orders:events" // ordered for each order; the data is an Order
	Users  Stream = "users:events"  // ordered for each user; the data is a User
	Mails  Stream = "users:mail"    // emails to users; the data is a User, with a secret that only the user may see
)

// DeadLetters returns the key of the stream with the events that a consumer could not handle.
func (s Stream) DeadLetters() string { return string(s) + ":dead" }

// field returns the name of the data in an entry, such as order in orders:events.
func (s Stream) field() string {
	name, _, _ := strings.Cut(string(s), "s:")
	return name
}

// Type is the type of an event.
type Type string

// The types of events of orders.
const (
	OrderCreated   Type = "order.created"
	OrderPaid      Type = "order.paid"
	OrderShipped   Type = "order.shipped"
	OrderDelivered Type = "order.delivered"
	OrderCancelled Type = "order.cancelled"
)

// UserDeleted is the type of the event of a deleted user.
const UserDeleted Type = "user.deleted"

// The types of emails to users.
const (
	EmailToConfirm         Type = "user.email_to_confirm"         // with the address to confirm, and a link
	EmailChangeRequested   Type = "user.email_change_requested"   // with the address that is to be replaced
	PasswordResetRequested Type = "user.password_reset_requested" // with a link
	PasswordChanged        Type = "user.password_changed"
)

// Event is a fact that is delivered at least once. A consumer recognises a repetition by the ID.
type Event struct {
	ID          uuid.UUID
	Type        Type
	OccurredAt  time.Time
	Traceparent string          // W3C trace context of the request that caused it; may be empty
	Data        json.RawMessage // the Order or User just after the event
}

// Within returns ctx with the trace context of the request that caused e.
func (e Event) Within(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": e.Traceparent})
}

// Order is an order just after the event. Its only personal data is the user's id.
type Order struct {
	ID       uuid.UUID `json:"id"`
	UserID   uuid.UUID `json:"user_id"` // uuid.Nil if the user is deleted
	Status   string    `json:"status"`
	Total    int64     `json:"total"`    // minor units of the currency
	Currency string    `json:"currency"` // ISO 4217
	Version  int64     `json:"version"`  // grows with every change of the order
}

// User is a user just after the event.
type User struct {
	ID    uuid.UUID `json:"id"`
	Email string    `json:"email,omitempty"` // of events about an email
	// Secret is the token of a link. The outbox removes it once it is published.
	Secret string `json:"secret,omitempty"`
}

func (o Order) subject() uuid.UUID { return o.ID }
func (u User) subject() uuid.UUID  { return u.ID }

// Data decodes the data of e. It fails if the data has another form.
func Data[T interface{ subject() uuid.UUID }](e Event) (T, error) {
	var data T
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return data, fmt.Errorf("reading the data of event %s: %w", e.ID, err)
	}
	if data.subject() == uuid.Nil {
		return data, fmt.Errorf("the data of event %s has no id", e.ID)
	}
	return data, nil
}

// The fields of a stream entry, besides the data.
const (
	fieldID          = "id"
	fieldType        = "type"
	fieldOccurredAt  = "occurred_at"
	fieldTraceparent = "traceparent"
)

// Fields returns the fields of e's entry in the order name, value, name, value.
func (s Stream) Fields(e Event) []any {
	return []any{
		fieldID, e.ID.String(),
		fieldType, string(e.Type),
		fieldOccurredAt, e.OccurredAt.UTC().Format(time.RFC3339Nano),
		fieldTraceparent, e.Traceparent,
		s.field(), string(e.Data),
	}
}

// Parse returns the event in the fields of an entry. It fails if a field is missing or malformed; it checks
// neither the type nor the data.
func (s Stream) Parse(fields map[string]any) (Event, error) {
	text := func(name string) string { value, _ := fields[name].(string); return value }
	id, idErr := uuid.Parse(text(fieldID))
	occurredAt, timeErr := time.Parse(time.RFC3339Nano, text(fieldOccurredAt))
	e := Event{
		ID: id, Type: Type(text(fieldType)), OccurredAt: occurredAt, Traceparent: text(fieldTraceparent),
		Data: json.RawMessage(text(s.field())),
	}
	if err := errors.Join(idErr, timeErr); err != nil {
		return Event{}, fmt.Errorf("reading an event: %w", err)
	}
	if e.Type == "" || len(e.Data) == 0 {
		return Event{}, fmt.Errorf("reading an event: its type or its %s is missing", s.field())
	}
	return e, nil
}
