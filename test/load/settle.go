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

// settleWithin is the time limit for the notifications after the last order.
const settleWithin = 60 * time.Second

// Settle stops the run and waits, 60 s at most, until the platform's data matches the responses: each acknowledged order is
// stored, no other order is (except for orders whose request got no response), and each order has exactly one notification.
// It returns all differences, and removes the users. A run settles once.
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

// holdings is the platform's data about a user: how often each order is listed, and how many notifications it has.
type holdings struct{ stored, notified map[string]int }

// compare returns the differences from the responses to the user. final means that waiting can't resolve them.
func (h holdings) compare(acknowledged []string, unknown int) (final bool, err error) {
	var faults []error
	fault := func(orders []string, what string) {
		if len(orders) == 0 {
			return
		}
		slices.Sort(orders)
		faults = append(faults, fmt.Errorf("%d orders %s: %s", len(orders), what, few(orders)))
	}
	// An excess never goes away.
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
	for id, times := range h.notified {
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
	fault(again, "were returned for two requests")
	fault(twice, "have more than one notification")
	if len(more) > unknown {
		fault(more, fmt.Sprintf("are stored and were never acknowledged, want at most %d", unknown))
	}
	final = len(faults) > 0

	// Missing data may still arrive, and a notification without an order may be due to an order that isn't listed yet.
	var missing, unnotified []string
	for id := range known {
		if h.stored[id] == 0 {
			missing = append(missing, id)
		}
	}
	for id := range h.stored {
		if h.notified[id] == 0 {
			unnotified = append(unnotified, id)
		}
	}
	fault(missing, "were acknowledged and aren't stored")
	fault(unnotified, "have no notification")
	fault(strange, "have a notification and aren't stored")
	return final, errors.Join(faults...)
}

// few returns the first of many IDs.
func few(ids []string) string {
	const most = 5
	if len(ids) <= most {
		return strings.Join(ids, ", ")
	}
	return strings.Join(ids[:most], ", ") + fmt.Sprintf(" and %d more", len(ids)-most)
}

// holdings reads all pages of a user's orders and notifications.
func (r *Run) holdings(ctx context.Context, u *user) (holdings, error) {
	held := holdings{stored: map[string]int{}, notified: map[string]int{}}
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
			held.notified[n.OrderID]++ // a run causes only order.created
		}
	})
	return held, err
}

// page is a page of orders or notifications.
type page struct {
	Orders []struct {
		ID string `json:"id"`
	} `json:"orders"`
	Notifications []struct {
		OrderID string `json:"order_id"`
	} `json:"notifications"`
	Next string `json:"next"`
}

// pageSize is the API's maximum page size.
const pageSize = 100

// pages reads all pages of a list, up to twice as many as expected.
func (r *Run) pages(ctx context.Context, u *user, path string, take func(page)) error {
	orders, unknown := u.acknowledged()
	most := 2 + 2*(len(orders)+unknown)/pageSize
	query := url.Values{"limit": {fmt.Sprint(pageSize)}}
	for range most {
		var part page
		err := r.read(ctx, request{method: http.MethodGet, path: path + "?" + query.Encode(), token: u.token}, http.StatusOK, &part)
		if failed, ok := errors.AsType[statusError](err); ok && failed.status == http.StatusUnauthorized {
			return errors.Join(err, r.signIn(ctx, u)) // the token expired: the next attempt uses a new one
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
