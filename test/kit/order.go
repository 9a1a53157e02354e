package kit

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Order is an order in a response of the API.
type Order struct {
	ID     string `json:"id"`
	UserID string `json:"user_id"`
	Status string `json:"status"`
	Total  int64  `json:"total"` // minor units
}

// Notification is a notification in the inbox of a user.
type Notification struct {
	ID      string  `json:"id"`
	Type    string  `json:"type"`
	OrderID string  `json:"order_id"`
	ReadAt  *string `json:"read_at"`
}

// Inbox is the notifications of a user, and the number of unread ones.
type Inbox struct {
	Notifications []Notification `json:"notifications"`
	Unread        int            `json:"unread"`
}

// TwoTeas returns the body of an order that costs 9.00 EUR.
func TwoTeas() map[string]any {
	return map[string]any{"currency": "EUR", "items": []map[string]any{{"sku": "tea", "quantity": 2, "unit_price": 450}}}
}

// Order places an order of TwoTeas with an idempotency key, and retries until it is created. The key makes it one order regardless
// of the number of requests.
func (c Client) Order(token, key string) (Order, error) {
	var placed Order
	// The limit is longer than the minute for which a circuit breaker may stay open.
	err := Within(3*time.Minute, func() error {
		response, err := c.With("Idempotency-Key", key).Expect(http.MethodPost, "/api/orders", token, TwoTeas(), http.StatusCreated)
		if err == nil {
			placed, err = ParseJSON[Order](string(response.Body))
		}
		return err
	})
	return placed, err
}

// Inbox returns the last hundred notifications of the user.
func (c Client) Inbox(token string) (Inbox, error) {
	response, err := c.Expect(http.MethodGet, "/api/notifications?limit=100", token, nil, http.StatusOK)
	if err != nil {
		return Inbox{}, err
	}
	return ParseJSON[Inbox](string(response.Body))
}

// OrderAndAwait places an order, and waits for its notification.
func (c Client) OrderAndAwait(t *testing.T, token string) Order {
	t.Helper()
	placed, err := c.Order(token, rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	c.AwaitNotifications(t, token, "order.created", placed)
	return placed
}

// AwaitNotifications waits until the inbox contains exactly one notification of the type for each of the orders.
func (c Client) AwaitNotifications(t *testing.T, token, kind string, orders ...Order) {
	t.Helper()
	Eventually(t, 2*time.Minute, "a notification for each "+kind, func() error {
		held, err := c.Inbox(token)
		if err != nil {
			return err
		}
		count := map[string]int{}
		for _, n := range held.Notifications {
			if n.Type == kind {
				count[n.OrderID]++
			}
		}
		for _, o := range orders {
			if count[o.ID] != 1 {
				return fmt.Errorf("order %s has %d notifications of type %s, want 1", o.ID, count[o.ID], kind)
			}
		}
		return nil
	})
}

// Use sends requests as a user who orders, reads and makes mistakes, until stop is closed.
func (c Client) Use(token string, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(200 * time.Millisecond):
		}
		_, _ = c.Order(token, fmt.Sprintf("dashboards-%d", n))
		_, _ = c.Inbox(token)
		_, _ = c.Call(http.MethodGet, "/api/users/me", token, nil)
		_, _ = c.Call(http.MethodGet, "/api/orders/nothing", token, nil)
		_, _ = c.Call(http.MethodGet, "/.well-known/jwks.json", "", nil) // of the gateway itself
	}
}
