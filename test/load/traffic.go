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

// Kind is the kind of a request.
type Kind string

// The kinds of requests.
const (
	ReadUser          Kind = "read user"
	ListOrders        Kind = "list orders"
	ListNotifications Kind = "list notifications"
	ReadOrder         Kind = "read order"
	ChangeUser        Kind = "change user"
	PlaceOrder        Kind = "place order"
)

// mix is the number of requests of each kind out of a hundred.
var mix = []struct {
	kind  Kind
	share int
}{
	{ReadUser, 20}, {ListOrders, 15}, {ListNotifications, 15}, {ReadOrder, 10}, {ChangeUser, 15}, {PlaceOrder, 25},
}

// expected is the statuses of a request that isn't lost.
func (k Kind) expected(status int) bool {
	if k == PlaceOrder {
		return status == http.StatusCreated || status == http.StatusOK
	}
	return status == http.StatusOK
}

// choice is a request to send.
type choice struct {
	kind  Kind
	user  *user
	order string // for ReadOrder
	fresh bool   // over a new connection
	name  string // for ChangeUser
}

// choose takes the users in turn and a random kind of request. A user without an order lists the orders instead of reading one.
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
	sent := request{method: http.MethodGet, token: c.user.token}
	switch c.kind {
	case ReadUser:
		sent.path = "/api/users/me"
	case ListOrders:
		sent.path = "/api/orders?limit=10"
	case ListNotifications:
		sent.path = "/api/notifications?limit=10"
	case ReadOrder:
		sent.path = "/api/orders/" + url.PathEscape(c.order)
	case ChangeUser:
		sent.method, sent.path, sent.body = http.MethodPatch, "/api/users/me", map[string]string{"name": c.name}
	case PlaceOrder:
		sent.method, sent.path, sent.key = http.MethodPost, "/api/orders", cryptorand.Text()
		sent.body = map[string]any{"currency": "EUR", "items": []map[string]any{{"sku": "tea", "quantity": 2, "unit_price": 450}}}
	}
	return sent
}

// send sends a request and returns its result.
func (r *Run) send(ctx context.Context, c choice, due time.Time) Sample {
	client := r.kept
	if c.fresh {
		client = r.fresh
	}
	got, err := r.do(ctx, client, c.request())
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
	var created struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &created); err != nil {
		return "", fmt.Errorf("the response to an order: %w", err)
	}
	if created.ID == "" {
		return "", errors.New("the response to an order contains no ID")
	}
	return created.ID, nil
}

// cause returns an error without the common address, so that equal errors can be counted.
func cause(err error) string {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	text := err.Error()
	return text[:min(len(text), maxReason)]
}

// anOrder returns one of the user's orders, or "".
func (u *user) anOrder(random *rand.Rand) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.orders) == 0 {
		return ""
	}
	return u.orders[random.IntN(len(u.orders))]
}

// placed records an acknowledged order, or an order that may exist because its request got no response.
func (u *user) placed(id string, unknown bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if id != "" {
		u.orders = append(u.orders, id)
	} else if unknown {
		u.unknown++
	}
}

// acknowledged returns the user's acknowledged orders, and the number of orders that may exist beside them.
func (u *user) acknowledged() (orders []string, unknown int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.orders), u.unknown
}
