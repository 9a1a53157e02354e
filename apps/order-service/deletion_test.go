package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/servicetest"
)

func TestOrdersOfDeletedUserStayWithoutTheUser(t *testing.T) {
	w := newWorld(t)
	s := servicetest.Start(t, name, commands(), w.env)
	user := uuid.New()
	mine := place(t, s.HTTP, "X-User-Id: "+user.String())
	other := place(t, s.HTTP, alice)
	data, err := json.Marshal(event.User{ID: user})
	if err != nil {
		t.Fatal(err)
	}
	client := w.stream.Client()
	defer func() { _ = client.Close() }()
	deleted := event.Event{ID: uuid.Must(uuid.NewV7()), Type: event.UserDeleted, OccurredAt: time.Now(), Data: data}
	unknown := event.Event{ID: uuid.Must(uuid.NewV7()), Type: event.EmailToConfirm, OccurredAt: time.Now(), Data: []byte(`{}`)}
	for _, e := range []event.Event{unknown, deleted, deleted} { // again, as happens
		if err := client.XAdd(t.Context(), &goredis.XAddArgs{Stream: string(event.Users), Values: event.Users.Fields(e)}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	backingtest.Eventually(t, 20*time.Second, func() error {
		var left, kept int
		err := w.postgres.Connect().QueryRow(t.Context(), `SELECT (SELECT count(*) FROM orders WHERE user_id = $1) +
			(SELECT count(*) FROM idempotency_keys WHERE user_id = $1), (SELECT count(*) FROM orders)`, user).Scan(&left, &kept)
		if err != nil || left != 0 || kept != 2 {
			return fmt.Errorf("%d rows name the user, %d orders are kept: %w", left, kept, err)
		}
		return nil
	})
	for id, owner := range map[string]string{mine.ID: uuid.Nil.String(), other.ID: strings.TrimPrefix(alice, "X-User-Id: ")} {
		if got := servicetest.JSON[orderResponse](t, servicetest.Call(t, "GET", s.HTTP+"/orders/"+id, "", root, admin)); got.UserID != owner {
			t.Errorf("order %s is of %s, want %s", id, got.UserID, owner)
		}
	}
	late := servicetest.Call(t, "POST", s.HTTP+"/orders", validOrder, "X-User-Id: "+user.String(), "X-User-Role: user", newKey())
	if got := servicetest.JSON[problemResponse](t, late); late.Status != http.StatusUnauthorized || got.Code != "unauthenticated" {
		t.Errorf("a deleted user creates an order: %+v", late)
	}
	place(t, s.HTTP, alice)
	advance(t, s.HTTP, mine.ID, "pay") // its events are still published
	backingtest.Eventually(t, 20*time.Second, func() error { return published(t, s.Ops) })
}
