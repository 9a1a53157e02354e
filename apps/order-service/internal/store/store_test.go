package store

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/order-service/internal/order"
)

func newOrders(t *testing.T) *Orders {
	t.Helper()
	database := backingtest.StartPostgres(t)
	variables := database.Env()
	env := config.From(func(name string) (string, bool) { value, ok := variables[name]; return value, ok })
	at := postgres.ReadConfig(env)
	log := slog.New(slog.DiscardHandler)
	if err := postgres.Migrate(t.Context(), at, os.DirFS("../../migrations"), log); err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Connect(t.Context(), at, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return New(pool, func() {})
}

// create creates an order of the user, and returns its id, or that of the first order with the key.
func create(t *testing.T, orders *Orders, user uuid.UUID, key string) (id uuid.UUID, replayed bool, err error) {
	t.Helper()
	price := int64(5)
	d := order.Draft{Currency: "EUR", Items: []order.DraftItem{{SKU: "A", Quantity: 1, UnitPrice: &price}}}
	o, err := order.New(user, d, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	response, replayed, err := orders.Create(t.Context(), o, Request{Key: key, Hash: []byte("same")},
		Response{Status: http.StatusCreated, Body: []byte("{}"), OrderID: o.ID})
	return response.OrderID, replayed, err
}

// No order that is created during or after the handling of its user's deletion contains the user.
func TestConcurrentDeletionOfUserLeavesNoOrderWithTheUser(t *testing.T) {
	orders := newOrders(t)
	for range 20 {
		user := uuid.New()
		data, err := json.Marshal(event.User{ID: user})
		if err != nil {
			t.Fatal(err)
		}
		anonymise, err := Anonymise(event.Event{ID: uuid.New(), Type: event.UserDeleted, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				_, _, err := create(t, orders, user, uuid.NewString())
				if refused, ok := errors.AsType[*problem.Error](err); err != nil && (!ok || refused.Code != problem.Unauthenticated) {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			time.Sleep(2 * time.Millisecond)
			for range 2 { // again, as happens
				if err := anonymise(t.Context(), orders.pool); err != nil {
					t.Error(err)
				}
			}
		})
		all.Wait()
		if _, _, err := create(t, orders, user, "late"); err == nil {
			t.Error("a deleted user creates an order")
		}
		var left int
		if err := orders.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM orders WHERE user_id = $1) +
			(SELECT count(*) FROM idempotency_keys WHERE user_id = $1)`, user).Scan(&left); err != nil || left != 0 {
			t.Fatalf("%d rows name a deleted user: %v", left, err)
		}
	}
}

func TestIdempotencyKeysAreDeletedAfterTwoDays(t *testing.T) {
	orders := newOrders(t)
	pool := orders.pool

	user := uuid.New()
	create := func(key string) (id uuid.UUID, replayed bool) {
		t.Helper()
		id, replayed, err := create(t, orders, user, key)
		if err != nil {
			t.Fatal(err)
		}
		return id, replayed
	}
	id, _ := create("young")
	create("old")
	// One more than two batches, all older than keptFor.
	if _, err := pool.Exec(t.Context(), `INSERT INTO idempotency_keys (user_id, key, request_hash, status, response, order_id, created_at)
		SELECT $1, 'many' || n, '', 201, '', $2, now() - interval '49 h' FROM generate_series(1, $3) AS n`, user, id, 2001); err != nil {
		t.Fatal(err)
	}
	for key, age := range map[string]string{"young": "47 h", "old": "49 h"} {
		if _, err := pool.Exec(t.Context(), "UPDATE idempotency_keys SET created_at = now() - $2::text::interval WHERE key = $1", key, age); err != nil {
			t.Fatal(err)
		}
	}

	if _, err := pool.Exec(t.Context(), `INSERT INTO deleted_users (user_id, deleted_at)
		VALUES ($1, now() - interval '49 h'), ($2, now() - interval '47 h')`, uuid.New(), uuid.New()); err != nil {
		t.Fatal(err)
	}
	if err := orders.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	var deleted int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM deleted_users").Scan(&deleted); err != nil || deleted != 1 {
		t.Errorf("%d deleted users are left, want the young one: %v", deleted, err)
	}
	var left int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM idempotency_keys").Scan(&left); err != nil || left != 1 {
		t.Errorf("%d keys are left, want the young one: %v", left, err)
	}
	if again, replayed := create("young"); !replayed || again != id {
		t.Errorf("a key of 47 h is forgotten: got %s, %t", again, replayed)
	}
	if _, replayed := create("old"); replayed {
		t.Error("a key of 49 h is known")
	}
}
