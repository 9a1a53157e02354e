package order

import (
	"fmt"
	"time"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

// Move is what somebody wants to be done with an order.
type Move string

// The moves there are.
const (
	Pay     Move = "pay"
	Ship    Move = "ship"
	Deliver Move = "deliver"
	Cancel  Move = "cancel"
)

// Moves returns all of them.
func Moves() []Move { return []Move{Pay, Ship, Deliver, Cancel} }

// May reports whether role may make the move: users only cancel, and only what
// is their own, which is for the caller to see to.
func (m Move) May(role identity.Role) bool { return m == Cancel || role == identity.Admin }

// Transition is one way for an order to change.
type Transition struct {
	From  Status
	Move  Move
	To    Status
	Event event.Type // "": nothing changes and nothing is told
}

// transitions are the state machine: what isn't here is illegal.
func transitions() []Transition {
	return []Transition{
		{Pending, Pay, Paid, event.OrderPaid},
		{Paid, Ship, Shipped, event.OrderShipped},
		{Shipped, Deliver, Delivered, event.OrderDelivered},
		{Pending, Cancel, Cancelled, event.OrderCancelled},
		{Paid, Cancel, Cancelled, event.OrderCancelled},
		// So that a client may repeat what it heard no answer to.
		{Paid, Pay, Paid, ""},
		{Shipped, Ship, Shipped, ""},
		{Delivered, Deliver, Delivered, ""},
		{Cancelled, Cancel, Cancelled, ""},
	}
}

// Apply returns the order after a move and the type of the event that tells of
// it, "" where the move changes nothing. It fails with problem.Conflict where
// the order's status doesn't allow the move.
func (o Order) Apply(m Move, now time.Time) (Order, event.Type, error) {
	for _, t := range transitions() {
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
