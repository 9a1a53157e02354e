package smoke

import (
	"crypto/rand"
	"net/http"
	"testing"

	"platform.example/test/kit"
)

func TestOrderCausesANotification(t *testing.T) {
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	stranger := api.MustSignIn(t, api.SignUp(t))

	key := rand.Text()
	placed, err := api.Order(token, key)
	if err != nil {
		t.Fatal(err)
	}
	if placed.Status != "pending" || placed.Total != 900 {
		t.Errorf("the order is %+v, want a pending order of 900", placed)
	}
	again := api.With("Idempotency-Key", key).MustCall(t, http.StatusCreated, http.MethodPost, "/api/orders", token, kit.TwoTeas())
	if repeated, err := kit.ParseJSON[kit.Order](string(again.Body)); err != nil || repeated != placed || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same key returned %+v (%v), want %+v", repeated, err, placed)
	}
	api.AwaitNotifications(t, token, "order.created", placed)

	api.MustCall(t, http.StatusOK, http.MethodPost, "/api/orders/"+placed.ID+"/cancel", token, nil)
	api.AwaitNotifications(t, token, "order.cancelled", placed)

	held, err := api.Inbox(token)
	if err != nil {
		t.Fatal(err)
	}
	if len(held.Notifications) != 2 || held.Unread != 2 {
		t.Fatalf("the inbox contains %d notifications, %d of them unread: want 2", len(held.Notifications), held.Unread)
	}
	api.MustCall(t, http.StatusNoContent, http.MethodPost, "/api/notifications/"+held.Notifications[0].ID+"/read", token, nil)
	if held, err := api.Inbox(token); err != nil || held.Unread != 1 {
		t.Errorf("after one was read, %d are unread (%v)", held.Unread, err)
	}

	api.MustCall(t, http.StatusNotFound, http.MethodGet, "/api/orders/"+placed.ID, stranger, nil)
	api.MustCall(t, http.StatusNotFound, http.MethodPost, "/api/notifications/"+held.Notifications[0].ID+"/read", stranger, nil)
	if held, err := api.Inbox(stranger); err != nil || len(held.Notifications) != 0 {
		t.Errorf("another user has %d notifications (%v)", len(held.Notifications), err)
	}
}
