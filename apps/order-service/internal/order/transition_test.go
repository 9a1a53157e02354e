package order

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/event"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

// legal is a second, independent definition of the state machine.
func legal(from Status, m Move) (to Status, published event.Type, ok bool) {
	switch {
	case from == Pending && m == Pay:
		return Paid, event.OrderPaid, true
	case from == Paid && m == Ship:
		return Shipped, event.OrderShipped, true
	case from == Shipped && m == Deliver:
		return Delivered, event.OrderDelivered, true
	case m == Cancel && (from == Pending || from == Paid):
		return Cancelled, event.OrderCancelled, true
	case m == Pay && from == Paid, m == Ship && from == Shipped, m == Deliver && from == Delivered, m == Cancel && from == Cancelled:
		return from, "", true
	}
	return "", "", false
}

func TestOrdersFollowTheStateMachineOnEveryWalk(t *testing.T) {
	moves := append(Moves(), "refund", "", "PAY")
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		o := Order{ID: uuid.New(), UserID: uuid.New(), Status: Pending, Version: 1, Total: 5, Currency: "EUR"}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 12 {
			m := moves[random.IntN(len(moves))]
			now = now.Add(time.Second)
			before := o
			after, published, err := o.Apply(m, now)
			to, wantEvent, ok := legal(before.Status, m)
			if !reflect.DeepEqual(o, before) {
				t.Fatalf("seed %d: %s changed the order in place", seed, m)
			}
			want := before
			switch {
			case !ok:
				if failed, is := errors.AsType[*problem.Error](err); !is || failed.Code != problem.Conflict || published != "" {
					t.Fatalf("seed %d: %s of %s: got %v and event %q, want a conflict and none", seed, m, before.Status, err, published)
				}
				continue
			case wantEvent != "":
				want.Status, want.UpdatedAt, want.Version = to, now, before.Version+1
			}
			if err != nil || published != wantEvent || !reflect.DeepEqual(after, want) {
				t.Fatalf("seed %d: %s of %s: got %+v, %q, %v; want %+v, %q", seed, m, before.Status, after, published, err, want, wantEvent)
			}
			o = after
		}
	}
}

func TestEveryStatusIsReachableAndFinalOnesAreFinal(t *testing.T) {
	reached := map[Status]bool{Pending: true}
	for range transitions {
		for _, transition := range transitions {
			reached[transition.To] = reached[transition.To] || reached[transition.From]
			if (transition.From == Delivered || transition.From == Cancelled) && transition.Event != "" {
				t.Errorf("%s is final and has %+v", transition.From, transition)
			}
		}
	}
	for _, status := range []Status{Pending, Paid, Shipped, Delivered, Cancelled} {
		if !reached[status] {
			t.Errorf("no order ever becomes %s", status)
		}
	}
}

func TestUsersMayOnlyCancel(t *testing.T) {
	for _, m := range Moves() {
		if got, want := m.May(identity.User), m == Cancel; got != want {
			t.Errorf("%s by a user: got %t, want %t", m, got, want)
		}
		if !m.May(identity.Admin) {
			t.Errorf("%s is not for an admin", m)
		}
		if m != Cancel && m.May("") {
			t.Errorf("%s is for one without a role", m)
		}
	}
}
