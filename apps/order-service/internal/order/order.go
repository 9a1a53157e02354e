// Package order defines orders, validates them and changes their status.
package order

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

// Status is the status of an order.
type Status string

// The statuses. The last two are final.
const (
	Pending   Status = "pending"
	Paid      Status = "paid"
	Shipped   Status = "shipped"
	Delivered Status = "delivered"
	Cancelled Status = "cancelled"
)

// Order is an order as its owner sees it.
type Order struct {
	ID        uuid.UUID `json:"id"` // version 7, ordered by creation: the sort key of lists
	UserID    uuid.UUID `json:"user_id"`
	Status    Status    `json:"status"`
	Currency  string    `json:"currency"` // ISO 4217
	Total     int64     `json:"total"`    // minor units of the currency
	Items     []Item    `json:"items"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"` // starts at 1, grows by one with every change
}

// Item is one line of an order.
type Item struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice int64  `json:"unit_price"` // minor units of the order's currency
}

// New returns a pending order of a user from a valid draft.
func New(userID uuid.UUID, d Draft, now time.Time) (Order, error) {
	items := d.items()
	total, err := Total(items)
	if err != nil {
		return Order{}, err
	}
	now = stored(now)
	return Order{
		ID: uuid.Must(uuid.NewV7()), UserID: userID, Status: Pending, Currency: d.Currency, Total: total, Items: items,
		CreatedAt: now, UpdatedAt: now, Version: 1,
	}, nil
}

// EventData returns the data of an event about o.
func (o Order) EventData() event.Order {
	return event.Order{
		ID: o.ID, UserID: o.UserID, Status: string(o.Status),
		Total: o.Total, Currency: o.Currency, Version: o.Version,
	}
}

// stored returns t as Postgres stores it, in microseconds, so that an order is the same before and after.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Move is an action on an order.
type Move string

// The moves.
const (
	Pay     Move = "pay"
	Ship    Move = "ship"
	Deliver Move = "deliver"
	Cancel  Move = "cancel"
)

// Moves returns all moves.
func Moves() []Move { return []Move{Pay, Ship, Deliver, Cancel} }

// May reports whether role may make the move. Users may only cancel; the caller checks that the order is
// theirs.
func (m Move) May(role identity.Role) bool { return m == Cancel || role == identity.Admin }

// transition is one change of the status of an order.
type transition struct {
	From  Status
	Move  Move
	To    Status
	Event event.Type // "" means no change and no event
}

// transitions is the state machine. Every other move is refused.
var transitions = []transition{
	{Pending, Pay, Paid, event.OrderPaid},
	{Paid, Ship, Shipped, event.OrderShipped},
	{Shipped, Deliver, Delivered, event.OrderDelivered},
	{Pending, Cancel, Cancelled, event.OrderCancelled},
	{Paid, Cancel, Cancelled, event.OrderCancelled},
	// A client may repeat a move after a lost response.
	{Paid, Pay, Paid, ""},
	{Shipped, Ship, Shipped, ""},
	{Delivered, Deliver, Delivered, ""},
	{Cancelled, Cancel, Cancelled, ""},
}

// Apply returns the order after a move and the type of its event, or "" if the move changes nothing. It fails
// with problem.Conflict if the order's status doesn't allow the move.
func (o Order) Apply(m Move, now time.Time) (Order, event.Type, error) {
	for _, t := range transitions {
		if t.From != o.Status || t.Move != m {
			continue
		}
		if t.Event != "" {
			o.Status, o.UpdatedAt, o.Version = t.To, stored(now), o.Version+1
		}
		return o, t.Event, nil
	}
	sentence := fmt.Sprintf("The order is %s: %s is not possible.", o.Status, m)
	return Order{}, "", problem.New(problem.Conflict, sentence, nil)
}
