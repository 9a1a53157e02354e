package order

import (
	"fmt"
	"time"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

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
