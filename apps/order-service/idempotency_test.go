package main

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/servicetest"
)

func testIdempotency(t *testing.T, w *world, at string) {
	database := w.postgres.Connect()
	// rows returns the number of a user's orders and events in the database.
	rows := func(t *testing.T, owner string) (orders, events int) {
		t.Helper()
		err := database.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM orders WHERE user_id = $1),
			(SELECT count(*) FROM outbox WHERE payload->>'user_id' = $1::text)`,
			strings.TrimPrefix(owner, "X-User-Id: ")).Scan(&orders, &events)
		if err != nil {
			t.Fatal(err)
		}
		return orders, events
	}
	newUser := func() string { return "X-User-Id: " + uuid.NewString() }
	create := func(t *testing.T, body string, headers ...string) servicetest.Response {
		t.Helper()
		return servicetest.Call(t, "POST", at+"/orders", body, headers...)
	}

	t.Run("the same key and order get the first response again", func(t *testing.T) {
		owner, key := newUser(), newKey()
		first := create(t, validOrder, owner, key)
		id := servicetest.JSON[orderResponse](t, first).ID
		advance(t, at, id, "pay") // what became of the order since makes no difference
		spaced := strings.ReplaceAll(validOrder, ",", " ,\n ")
		for _, body := range []string{validOrder, spaced} {
			again := create(t, body, owner, key)
			if again.Status != http.StatusCreated || again.Body != first.Body ||
				again.Header.Get("Location") != first.Header.Get("Location") || again.Header.Get("ETag") != `"1"` ||
				again.Header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("got  %+v\nwant %+v", again, first)
			}
		}
		if orders, events := rows(t, owner); orders != 1 || events != 2 {
			t.Errorf("got %d orders and %d events, want 1 and created, paid", orders, events)
		}
	})

	t.Run("50 concurrent requests create one order and get one response", func(t *testing.T) {
		owner, key := newUser(), newKey()
		responses := make([]servicetest.Response, 50)
		var running sync.WaitGroup
		for i := range responses {
			running.Go(func() { responses[i] = try(at, "POST", "/orders", validOrder, owner, user, key) })
		}
		running.Wait()
		replayed := 0
		for _, response := range responses {
			if response.Status != http.StatusCreated || response.Body != responses[0].Body {
				t.Errorf("got  %+v\nwant %+v", response, responses[0])
			}
			if response.Header.Get("Idempotency-Replayed") == "true" {
				replayed++
			}
		}
		if replayed != len(responses)-1 {
			t.Errorf("%d of 50 responses are marked as replayed, want 49", replayed)
		}
		if orders, events := rows(t, owner); orders != 1 || events != 1 {
			t.Errorf("got %d orders and %d events, want 1 each", orders, events)
		}
	})

	t.Run("the same key for another order is refused", func(t *testing.T) {
		owner, key := newUser(), newKey()
		create(t, validOrder, owner, key)
		other := create(t, strings.Replace(validOrder, "1250", "1251", 1), owner, key)
		p := servicetest.JSON[problemResponse](t, other)
		if other.Status != http.StatusUnprocessableEntity || p.Code != "invalid" || !strings.Contains(p.Detail, "Idempotency-Key") {
			t.Errorf("got %+v", other)
		}
		if orders, _ := rows(t, owner); orders != 1 {
			t.Errorf("got %d orders, want 1", orders)
		}
	})

	t.Run("keys are separate for each user", func(t *testing.T) {
		key, one, other := newKey(), newUser(), newUser()
		first, second := create(t, validOrder, one, key), create(t, strings.Replace(validOrder, "EUR", "USD", 1), other, key)
		if first.Status != http.StatusCreated || second.Status != http.StatusCreated || second.Header.Get("Idempotency-Replayed") != "" {
			t.Errorf("got %+v and %+v", first, second)
		}
	})

	t.Run("a request that isn't valid leaves its key unused", func(t *testing.T) {
		owner, key := newUser(), newKey()
		if invalid := create(t, `{"currency":"EUR","items":[]}`, owner, key); invalid.Status != http.StatusUnprocessableEntity {
			t.Fatalf("got %+v", invalid)
		}
		if valid := create(t, validOrder, owner, key); valid.Status != http.StatusCreated || valid.Header.Get("Idempotency-Replayed") != "" {
			t.Errorf("got %+v", valid)
		}
	})

	t.Run("an invalid key is refused", func(t *testing.T) {
		for _, key := range []string{"", "a b", "ü", strings.Repeat("k", 256)} {
			p := servicetest.JSON[problemResponse](t, create(t, validOrder, alice, "Idempotency-Key: "+key))
			if p.Code != "malformed" {
				t.Errorf("%q: got %+v", key, p)
			}
		}
		if response := create(t, validOrder, alice); response.Status != http.StatusBadRequest {
			t.Errorf("without one: got %+v", response)
		}
		if response := create(t, validOrder, newUser(), "Idempotency-Key: "+strings.Repeat("~", 255)); response.Status != http.StatusCreated {
			t.Errorf("the longest: got %+v", response)
		}
	})
}
