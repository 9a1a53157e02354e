package store

import (
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/order-service/internal/order"
)

func TestKeysAreForgottenAfterTwoDays(t *testing.T) {
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
	defer pool.Close()
	orders := New(pool, func() {})

	price := int64(5)
	d := order.Draft{Currency: "EUR", Items: []order.DraftItem{{SKU: "A", Quantity: 1, UnitPrice: &price}}}
	user := uuid.New()
	create := func(key string) (id uuid.UUID, replayed bool) {
		t.Helper()
		o, err := order.New(user, d, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		answer, replayed, err := orders.Create(t.Context(), o, Request{Key: key, Hash: []byte("same")},
			Answer{Status: http.StatusCreated, Body: []byte("{}"), OrderID: o.ID})
		if err != nil {
			t.Fatal(err)
		}
		return answer.OrderID, replayed
	}
	id, _ := create("young")
	create("old")
	// One more than two batches, all of them older than what is kept.
	if _, err := pool.Exec(t.Context(), `INSERT INTO idempotency_keys (user_id, key, request_hash, status, response, order_id, created_at)
		SELECT $1, 'many' || n, '', 201, '', $2, now() - interval '49 h' FROM generate_series(1, $3) AS n`, user, id, 2001); err != nil {
		t.Fatal(err)
	}
	for key, age := range map[string]string{"young": "47 h", "old": "49 h"} {
		if _, err := pool.Exec(t.Context(), "UPDATE idempotency_keys SET created_at = now() - $2::text::interval WHERE key = $1", key, age); err != nil {
			t.Fatal(err)
		}
	}

	if err := orders.ForgetKeys(t.Context()); err != nil {
		t.Fatal(err)
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
