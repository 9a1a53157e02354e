// Package order defines orders, validates them and changes their status.
package order

import (
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/event"
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
