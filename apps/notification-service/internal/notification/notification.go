// Package notification says what an event becomes for the user whom it concerns.
package notification

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/event"
)

// Notification is an entry of a user's inbox.
type Notification struct {
	ID        uuid.UUID  `json:"id"`
	UserID    uuid.UUID  `json:"-"` // whose inbox it is in
	Type      event.Type `json:"type"`
	Title     string     `json:"title"`
	Body      string     `json:"body"`
	OrderID   uuid.UUID  `json:"order_id"`
	CreatedAt time.Time  `json:"created_at"`
	ReadAt    *time.Time `json:"read_at,omitempty"`
}

// Known reports whether there is a notification for events of this type.
func Known(t event.Type) bool {
	_, known := texts[t]
	return known
}

// From returns the notification that e becomes, with an ID of its own and no
// CreatedAt. It fails where e says what can't be true of an order, or is of no
// Known type.
func From(e event.Event) (Notification, error) {
	text, known := texts[e.Type]
	if !known {
		return Notification{}, fmt.Errorf("there is no notification for events of the type %q", e.Type)
	}
	total, err := formatMoney(e.Order.Total, e.Order.Currency)
	if err != nil {
		return Notification{}, fmt.Errorf("the total of order %s: %w", e.Order.ID, err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Notification{}, err
	}
	return Notification{
		ID: id, UserID: e.Order.UserID, Type: e.Type, OrderID: e.Order.ID,
		Title: text.title, Body: fmt.Sprintf(text.body, total),
	}, nil
}

// text is what a type of event is told with; %s in the body is the order's total.
type text struct{ title, body string }

var texts = map[event.Type]text{
	event.OrderCreated:   {"Order received", "We have received your order of %s."},
	event.OrderPaid:      {"Payment received", "Your payment of %s has arrived."},
	event.OrderShipped:   {"Order shipped", "Your order of %s is on its way."},
	event.OrderDelivered: {"Order delivered", "Your order of %s has been delivered."},
	event.OrderCancelled: {"Order cancelled", "Your order of %s has been cancelled."},
}
