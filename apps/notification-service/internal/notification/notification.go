// Package notification creates the notifications of users from events.
package notification

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/event"
)

// Notification is an entry of a user's inbox.
type Notification struct {
	ID        uuid.UUID  `json:"id"`
	UserID    uuid.UUID  `json:"-"` // the owner of the inbox
	Type      event.Type `json:"type"`
	Title     string     `json:"title"`
	Body      string     `json:"body"`
	OrderID   uuid.UUID  `json:"order_id"`
	CreatedAt time.Time  `json:"created_at"`
	ReadAt    *time.Time `json:"read_at,omitempty"`
}

// Types returns the types of events that become notifications.
func Types() []event.Type { return slices.Collect(maps.Keys(texts)) }

// From returns the notification of an event of one of Types. It has the ID and the time of the event, so
// notifications are in the order of the events. From fails if the data of the event isn't a valid order.
func From(e event.Event) (Notification, error) {
	order, err := event.Data[event.Order](e)
	if err != nil {
		return Notification{}, err
	}
	total, err := formatMoney(order.Total, order.Currency)
	if err != nil {
		return Notification{}, fmt.Errorf("the total of order %s: %w", order.ID, err)
	}
	text := texts[e.Type]
	return Notification{
		ID: e.ID, UserID: order.UserID, Type: e.Type, OrderID: order.ID,
		Title: text.title, Body: fmt.Sprintf(text.body, total), CreatedAt: e.OccurredAt,
	}, nil
}

// text is the text of a type of event; %s in the body is the order's total.
type text struct{ title, body string }

var texts = map[event.Type]text{
	event.OrderCreated:   {"Order received", "We have received your order of %s."},
	event.OrderPaid:      {"Payment received", "Your payment of %s has arrived."},
	event.OrderShipped:   {"Order shipped", "Your order of %s is on its way."},
	event.OrderDelivered: {"Order delivered", "Your order of %s has been delivered."},
	event.OrderCancelled: {"Order cancelled", "Your order of %s has been cancelled."},
}

// formatMoney formats an amount in minor units: 1250 EUR is "12.50 EUR", 1250 JPY is "1250 JPY".
func formatMoney(minor int64, currency string) (string, error) {
	if len(currency) != 3 || strings.Trim(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "", fmt.Errorf("%.16q is not a currency of ISO 4217: want three capital letters", currency)
	}
	if minor < 0 {
		return "", fmt.Errorf("%d is below zero", minor)
	}
	digits := minorDigits(currency)
	amount := fmt.Sprintf("%0*d", digits+1, minor)
	if point := len(amount) - digits; digits > 0 {
		amount = amount[:point] + "." + amount[point:]
	}
	return amount + " " + currency, nil
}

// minorDigits returns the exponent of a currency in ISO 4217, list one. It is 2 for most currencies, and for
// unknown ones.
func minorDigits(currency string) int {
	switch currency {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF",
		"UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	case "CLF", "UYW":
		return 4
	}
	return 2
}
