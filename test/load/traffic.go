package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	cryptorand "crypto/rand"
)

// Kind is what a request does.
type Kind string

// The requests that users send.
const (
	ReadUser          Kind = "read user"
	ListOrders        Kind = "list orders"
	ListNotifications Kind = "list notifications"
	ReadOrder         Kind = "read order"
	ChangeUser        Kind = "change user"
	PlaceOrder        Kind = "place order"
)

// mix is how many of a hundred requests are of each kind.
var mix = []struct {
	kind  Kind
	share int
}{
	{ReadUser, 20}, {ListOrders, 15}, {ListNotifications, 15}, {ReadOrder, 10}, {ChangeUser, 15}, {PlaceOrder, 25},
}

// expected is the answers of a request that isn't lost.
func (k Kind) expected(status int) bool {
	if k == PlaceOrder {
		return status == http.StatusCreated || status == http.StatusOK
	}
	return status == http.StatusOK
}

// choice is a request that is about to be sent.
type choice struct {
	kind  Kind
	user  *user
	order string // of ReadOrder
	fresh bool   // over a new connection
	name  string // of ChangeUser
}

// choose takes users in turn, and what they do by chance. Who has no order yet lists theirs in place of reading one.
func (r *Run) choose(random *rand.Rand, i int) choice {
	chosen := choice{user: r.users[i%len(r.users)], fresh: random.Float64() < r.options.NewConnections}
	drawn := random.IntN(100)
	for _, part := range mix {
		if chosen.kind = part.kind; drawn < part.share {
			break
		}
		drawn -= part.share
	}
	switch chosen.kind {
	case ReadOrder:
		if chosen.order = chosen.user.anOrder(random); chosen.order == "" {
			chosen.kind = ListOrders
		}
	case ChangeUser:
		chosen.name = fmt.Sprintf("Load %d", i)
	}
	return chosen
}

func (c choice) request() request {
	asked := request{method: http.MethodGet, token: c.user.token}
	switch c.kind {
	case ReadUser:
		asked.path = "/api/users/me"
	case ListOrders:
		asked.path = "/api/orders?limit=10"
	case ListNotifications:
		asked.path = "/api/notifications?limit=10"
	case ReadOrder:
		asked.path = "/api/orders/" + url.PathEscape(c.order)
	case ChangeUser:
		asked.method, asked.path, asked.body = http.MethodPatch, "/api/users/me", map[string]string{"name": c.name}
	case PlaceOrder:
		asked.method, asked.path, asked.key = http.MethodPost, "/api/orders", cryptorand.Text()
		asked.body = map[string]any{"currency": "EUR", "items": []map[string]any{{"sku": "tea", "quantity": 2, "unit_price": 450}}}
	}
	return asked
}

// send sends a request and tells what became of it.
func (r *Run) send(ctx context.Context, c choice, due time.Time) Sample {
	client := r.kept
	if c.fresh {
		client = r.fresh
	}
	got, err := r.ask(ctx, client, c.request())
	sample := Sample{
		At: due, Latency: time.Since(due), Kind: c.kind, Status: got.status,
		By: r.origins.of(got.header), Reused: got.reused, Replayed: got.replayed,
	}
	var id string
	if err == nil && c.kind == PlaceOrder && c.kind.expected(got.status) {
		id, err = orderID(got.body)
	}
	switch {
	case err != nil:
		sample.Err = cause(err)
	case !c.kind.expected(got.status):
		sample.Err = fmt.Sprintf("%d%s", got.status, got.reason())
	}
	if c.kind == PlaceOrder {
		c.user.placed(id, err != nil || got.status >= http.StatusInternalServerError)
	}
	return sample
}

func orderID(body []byte) (string, error) {
	var made struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &made); err != nil {
		return "", fmt.Errorf("the answer to an order: %w", err)
	}
	if made.ID == "" {
		return "", errors.New("the answer to an order names none")
	}
	return made.ID, nil
}

// cause is an error without the address that all have in common, so that like causes can be counted.
func cause(err error) string {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	text := err.Error()
	return text[:min(len(text), maxReason)]
}

// anOrder is one that the user has placed; "" if there is none.
func (u *user) anOrder(random *rand.Rand) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.orders) == 0 {
		return ""
	}
	return u.orders[random.IntN(len(u.orders))]
}

// placed remembers an order that was acknowledged, or that one may have been made of which nobody heard.
func (u *user) placed(id string, unknown bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if id != "" {
		u.orders = append(u.orders, id)
	} else if unknown {
		u.unknown++
	}
}

// acknowledged is the orders that the user was told are made, and how many more there may be.
func (u *user) acknowledged() (orders []string, unknown int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.orders), u.unknown
}
