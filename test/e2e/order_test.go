package e2e

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"
)

type order struct {
	ID     string `json:"id"`
	UserID string `json:"user_id"`
	Status string `json:"status"`
	Total  int64  `json:"total"` // minor units
}

type notification struct {
	ID      string  `json:"id"`
	Type    string  `json:"type"`
	OrderID string  `json:"order_id"`
	ReadAt  *string `json:"read_at"`
}

type inbox struct {
	Notifications []notification `json:"notifications"`
	Unread        int            `json:"unread"`
}

// twoTeas costs 9.00.
func twoTeas() map[string]any {
	return map[string]any{"currency": "EUR", "items": []map[string]any{{"sku": "tea", "quantity": 2, "unit_price": 450}}}
}

// order sends an order with a key, and retries until it gets a response. The key makes it one order regardless of the number of
// requests.
func (c client) order(token, key string) (order, error) {
	var placed order
	// The limit is longer than the minute for which a circuit breaker may stay open.
	err := within(3*time.Minute, func() error {
		response, err := c.with("Idempotency-Key", key).expect(http.MethodPost, "/api/orders", token, twoTeas(), http.StatusCreated)
		if err == nil {
			placed, err = parse[order](string(response.body))
		}
		return err
	})
	return placed, err
}

func (c client) inbox(token string) (inbox, error) {
	response, err := c.expect(http.MethodGet, "/api/notifications?limit=100", token, nil, http.StatusOK)
	if err != nil {
		return inbox{}, err
	}
	return parse[inbox](string(response.body))
}

// awaitNotifications waits until the inbox contains exactly one notification of the type for each of the orders.
func (c client) awaitNotifications(t *testing.T, token, kind string, orders ...order) {
	t.Helper()
	eventually(t, 2*time.Minute, "a notification for each "+kind, func() error {
		held, err := c.inbox(token)
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

func TestOrderCausesANotification(t *testing.T) {
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	stranger := api.mustSignIn(t, api.signUp(t))

	key := rand.Text()
	placed, err := api.order(token, key)
	if err != nil {
		t.Fatal(err)
	}
	if placed.Status != "pending" || placed.Total != 900 {
		t.Errorf("the order is %+v, want a pending order of 900", placed)
	}
	again := api.with("Idempotency-Key", key).mustCall(t, http.StatusCreated, http.MethodPost, "/api/orders", token, twoTeas())
	if repeated, err := parse[order](string(again.body)); err != nil || repeated != placed || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same key returned %+v (%v), want %+v", repeated, err, placed)
	}
	api.awaitNotifications(t, token, "order.created", placed)

	api.mustCall(t, http.StatusOK, http.MethodPost, "/api/orders/"+placed.ID+"/cancel", token, nil)
	api.awaitNotifications(t, token, "order.cancelled", placed)

	held, err := api.inbox(token)
	if err != nil {
		t.Fatal(err)
	}
	if len(held.Notifications) != 2 || held.Unread != 2 {
		t.Fatalf("the inbox contains %d notifications, %d of them unread: want 2", len(held.Notifications), held.Unread)
	}
	api.mustCall(t, http.StatusNoContent, http.MethodPost, "/api/notifications/"+held.Notifications[0].ID+"/read", token, nil)
	if held, err := api.inbox(token); err != nil || held.Unread != 1 {
		t.Errorf("after one was read, %d are unread (%v)", held.Unread, err)
	}

	api.mustCall(t, http.StatusNotFound, http.MethodGet, "/api/orders/"+placed.ID, stranger, nil)
	api.mustCall(t, http.StatusNotFound, http.MethodPost, "/api/notifications/"+held.Notifications[0].ID+"/read", stranger, nil)
	if held, err := api.inbox(stranger); err != nil || len(held.Notifications) != 0 {
		t.Errorf("another user has %d notifications (%v)", len(held.Notifications), err)
	}
}

// Pods die at any time, including the stream's: each acknowledged order is kept, and gets one notification.
func TestOrdersSurviveDyingPods(t *testing.T) {
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	victims := []struct{ namespace, selector string }{
		{"apps", "app.kubernetes.io/name=order-service"},
		{"apps", "app.kubernetes.io/name=notification-service"},
		{"data", "app.kubernetes.io/name=redis-stream"},
		{"apps", "app.kubernetes.io/name=notification-service"},
	}
	const each = 10
	var orders []order
	for _, victim := range victims {
		for i := range each {
			placed, err := api.order(token, rand.Text())
			if err != nil {
				t.Fatal(err)
			}
			orders = append(orders, placed)
			if i == each/2 {
				output(t, "kubectl", "delete", "pod", "--namespace="+victim.namespace, "--selector="+victim.selector, "--grace-period=0", "--force", "--wait=false")
			}
		}
	}
	api.awaitNotifications(t, token, "order.created", orders...)

	// Wait until all pods are ready, so that the next test finds a healthy platform.
	eventually(t, 2*time.Minute, "all pods are ready", func() error {
		for _, victim := range victims {
			printed, err := attempt("kubectl", "wait", "pod", "--namespace="+victim.namespace, "--selector="+victim.selector, "--for=condition=Ready", "--timeout=10s")
			if err != nil {
				return errors.New(printed)
			}
		}
		return nil
	})
}
