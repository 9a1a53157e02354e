package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// settleWithin is how long events may take to become notifications after the last order.
const settleWithin = 60 * time.Second

// Settle stops the run and waits, 60 s at most, until what users were told is what the platform holds: each order that was
// acknowledged is stored, no other is, but for those whose request got no answer, and each has exactly one notification.
// It returns what is amiss; then it removes the users. A run settles once.
func (r *Run) Settle(ctx context.Context) error {
	r.Stop()
	within, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	var amiss []error
	for _, u := range r.users {
		err := poll(within, func() (final bool, err error) {
			held, err := r.holdings(within, u)
			if err != nil {
				return false, err
			}
			return held.compare(u.acknowledged())
		})
		if err != nil {
			amiss = append(amiss, fmt.Errorf("user %s: %w", u.email, err))
		}
	}
	return errors.Join(append(amiss, r.removeUsers(ctx))...)
}

// holdings is what the platform holds of a user: how often each order is listed, and how often it was told.
type holdings struct{ stored, told map[string]int }

// compare returns what differs from what the user was told. It is final where waiting won't mend it.
func (h holdings) compare(acknowledged []string, unknown int) (final bool, err error) {
	var faults []error
	fault := func(orders []string, what string) {
		if len(orders) == 0 {
			return
		}
		slices.Sort(orders)
		faults = append(faults, fmt.Errorf("%d orders %s: %s", len(orders), what, few(orders)))
	}
	// What is there too often stays so.
	known := map[string]int{}
	for _, id := range acknowledged {
		known[id]++
	}
	var again, twice, strange []string
	for id, times := range known {
		if times > 1 {
			again = append(again, id)
		}
	}
	for id, times := range h.told {
		if times > 1 {
			twice = append(twice, id)
		}
		if h.stored[id] == 0 {
			strange = append(strange, id)
		}
	}
	var more []string
	for id := range h.stored {
		if known[id] == 0 {
			more = append(more, id)
		}
	}
	fault(again, "were the answer to two requests")
	fault(twice, "have more than one notification")
	if len(more) > unknown {
		fault(more, fmt.Sprintf("are stored and were never acknowledged, want at most %d", unknown))
	}
	final = len(faults) > 0

	// What is missing may still come, and what is told of an order that isn't listed yet may be the order's fault.
	var missing, untold []string
	for id := range known {
		if h.stored[id] == 0 {
			missing = append(missing, id)
		}
	}
	for id := range h.stored {
		if h.told[id] == 0 {
			untold = append(untold, id)
		}
	}
	fault(missing, "were acknowledged and aren't stored")
	fault(untold, "have no notification")
	fault(strange, "have a notification and aren't stored")
	return final, errors.Join(faults...)
}

// few names the first of many.
func few(ids []string) string {
	const most = 5
	if len(ids) <= most {
		return strings.Join(ids, ", ")
	}
	return strings.Join(ids[:most], ", ") + fmt.Sprintf(" and %d more", len(ids)-most)
}

// holdings reads all pages of a user's orders and notifications.
func (r *Run) holdings(ctx context.Context, u *user) (holdings, error) {
	held := holdings{stored: map[string]int{}, told: map[string]int{}}
	err := r.pages(ctx, u, "/api/orders", func(p page) {
		for _, o := range p.Orders {
			held.stored[o.ID]++
		}
	})
	if err != nil {
		return holdings{}, err
	}
	err = r.pages(ctx, u, "/api/notifications", func(p page) {
		for _, n := range p.Notifications {
			held.told[n.OrderID]++ // a run makes nothing but order.created
		}
	})
	return held, err
}

// page is a part of either list.
type page struct {
	Orders []struct {
		ID string `json:"id"`
	} `json:"orders"`
	Notifications []struct {
		OrderID string `json:"order_id"`
	} `json:"notifications"`
	Next string `json:"next"`
}

// pageSize is the most that the API gives at once.
const pageSize = 100

// pages reads a list to its end: twice as much as there can be, at most.
func (r *Run) pages(ctx context.Context, u *user, path string, take func(page)) error {
	orders, unknown := u.acknowledged()
	most := 2 + 2*(len(orders)+unknown)/pageSize
	query := url.Values{"limit": {fmt.Sprint(pageSize)}}
	for range most {
		var part page
		err := r.read(ctx, request{method: http.MethodGet, path: path + "?" + query.Encode(), token: u.token}, http.StatusOK, &part)
		if answered, ok := errors.AsType[statusError](err); ok && answered.status == http.StatusUnauthorized {
			return errors.Join(err, r.signIn(ctx, u)) // the token had expired: next time there is a new one
		}
		if err != nil {
			return err
		}
		take(part)
		if part.Next == "" {
			return nil
		}
		query.Set("after", part.Next)
	}
	return fmt.Errorf("GET %s: more than %d pages of %d, for %d orders", path, most, pageSize, len(orders)+unknown)
}
