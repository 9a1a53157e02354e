// Package order says what an order is, what makes one valid and how it may change.
package order

import (
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/event"
)

// Status is how far an order has come.
type Status string

// The statuses there are. The last two are final.
const (
	Pending   Status = "pending"
	Paid      Status = "paid"
	Shipped   Status = "shipped"
	Delivered Status = "delivered"
	Cancelled Status = "cancelled"
)

// Order is an order as its owner may see it.
type Order struct {
	ID        uuid.UUID `json:"id"` // version 7: ordered by creation, which is what lists page by
	UserID    uuid.UUID `json:"user_id"`
	Status    Status    `json:"status"`
	Currency  string    `json:"currency"` // ISO 4217
	Total     int64     `json:"total"`    // minor units of the currency
	Items     []Item    `json:"items"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"` // 1 at first, one more with every change
}

// Item is one line of an order.
type Item struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice int64  `json:"unit_price"` // minor units of the order's currency
}

// New returns the order that d, which is valid, makes for a user.
func New(userID uuid.UUID, d Draft, now time.Time) (Order, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Order{}, err
	}
	items := d.items()
	total, err := Total(items)
	if err != nil {
		return Order{}, err
	}
	now = stored(now)
	return Order{
		ID: id, UserID: userID, Status: Pending, Currency: d.Currency, Total: total, Items: items,
		CreatedAt: now, UpdatedAt: now, Version: 1,
	}, nil
}

// Told is what an event says of o.
func (o Order) Told() event.Order {
	return event.Order{
		ID: o.ID, UserID: o.UserID, Status: string(o.Status),
		Total: o.Total, Currency: o.Currency, Version: o.Version,
	}
}

// stored is t as the database gives it back, so that an order reads the same
// before and after: in microseconds.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
