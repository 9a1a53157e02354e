package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/servicetest"
)

// published returns nil if the metrics of a service report no unpublished event.
func published(t *testing.T, ops string) error {
	t.Helper()
	if !strings.Contains(servicetest.Call(t, "GET", ops+"/metrics", "").Body, "\norder_service_outbox_unpublished{stream=\"orders:events\"} 0\n") {
		return errors.New("the outbox is not empty")
	}
	return nil
}

// eventsOf reads the whole stream and returns the events of each order, in order.
func eventsOf(t *testing.T, client *goredis.Client) map[string][]event.Event {
	t.Helper()
	entries, err := client.XRange(t.Context(), string(event.Orders), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	events := map[string][]event.Event{}
	for _, entry := range entries {
		e, err := event.Orders.Parse(entry.Values)
		if err != nil {
			t.Fatal(err)
		}
		id := orderOf(t, e).ID.String()
		events[id] = append(events[id], e)
	}
	return events
}

func orderOf(t *testing.T, e event.Event) event.Order {
	t.Helper()
	o, err := event.Data[event.Order](e)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// inOrder checks that the first publications of an order's events are in order. It returns the number of events and of
// repetitions.
func inOrder(t *testing.T, id string, events []event.Event) (first, again int) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range events {
		if seen[e.ID.String()] {
			again++
			continue
		}
		seen[e.ID.String()] = true
		if first++; orderOf(t, e).Version != int64(first) {
			t.Errorf("order %s: version %d is event number %d", id, orderOf(t, e).Version, first)
		}
	}
	return first, again
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	s := servicetest.Start(t, name, commands(), w.env)
	client := w.stream.Client()
	defer func() { _ = client.Close() }()
	eventuallyTold := func(t *testing.T, ids []string, each int) {
		t.Helper()
		backingtest.Eventually(t, 30*time.Second, func() error {
			events := eventsOf(t, client)
			for _, id := range ids {
				if len(events[id]) < each {
					return fmt.Errorf("of order %s %d of %d events are published\n%s", id, len(events[id]), each, s.Logs()[max(0, len(s.Logs())-2000):])
				}
			}
			return nil
		})
	}

	t.Run("contain the order and the trace of the request", func(t *testing.T) {
		const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
		response := servicetest.Call(t, "POST", s.HTTP+"/orders", validOrder, alice, newKey(), "Traceparent: 00-"+trace+"-00f067aa0ba902b7-01")
		o := servicetest.JSON[orderResponse](t, response)
		advance(t, s.HTTP, o.ID, "pay")
		eventuallyTold(t, []string{o.ID}, 2)
		events := eventsOf(t, client)[o.ID]
		created, paid := events[0], events[1]
		if created.Type != event.OrderCreated || !strings.Contains(created.Traceparent, trace) || !created.OccurredAt.Equal(o.CreatedAt) {
			t.Errorf("got %+v", created)
		}
		raw, _ := json.Marshal(orderOf(t, created))
		want := fmt.Sprintf(`{"id":%q,"user_id":%q,"status":"pending","total":2500,"currency":"EUR","version":1}`, o.ID, o.UserID)
		if string(raw) != want {
			t.Errorf("got  %s\nwant %s", raw, want)
		}
		if paid.Type != event.OrderPaid || orderOf(t, paid).Status != "paid" || paid.ID == created.ID || paid.ID.Version() != 7 {
			t.Errorf("got %+v", paid)
		}
	})

	t.Run("are in order per order with three relays under load", func(t *testing.T) {
		replicas := []string{s.HTTP}
		for range 2 {
			replicas = append(replicas, servicetest.Start(t, name, commands(), w.env).HTTP)
		}
		ids := load(t, replicas, 8, 8)
		eventuallyTold(t, ids, 4)
		events := eventsOf(t, client)
		for _, id := range ids {
			if first, again := inOrder(t, id, events[id]); first != 4 || again != 0 {
				t.Errorf("order %s: got %d events and %d repeated, want 4 and none, as nothing failed", id, first, again)
			}
		}
	})

	t.Run("wait while Redis is stopped or hangs, while orders are accepted", func(t *testing.T) {
		eventuallyReady := func(when, stream string) {
			t.Helper()
			backingtest.Eventually(t, 10*time.Second, func() error {
				if ready := servicetest.Call(t, "GET", s.Ops+"/readyz", ""); ready.Status != http.StatusOK || !strings.Contains(ready.Body, stream) {
					return fmt.Errorf("%s: /readyz responds with %+v, want %s", when, ready, stream)
				}
				return nil
			})
		}
		eventuallyReady("before", `"stream":"ok"`)
		for _, fault := range []struct {
			name       string
			begin, end func()
		}{{"stopped", w.stream.Stop, w.stream.Start}, {"hung", w.stream.Hang, w.stream.Resume}} {
			fault.begin()
			var ids []string
			for range 5 {
				o := place(t, s.HTTP, alice)
				advance(t, s.HTTP, o.ID, "pay")
				ids = append(ids, o.ID)
			}
			eventuallyReady(fault.name, `"stream":"unwell"`)
			fault.end()
			eventuallyTold(t, ids, 2)
			eventuallyReady("after it was "+fault.name, `"stream":"ok"`)
			for _, id := range ids {
				inOrder(t, id, eventsOf(t, client)[id])
			}
		}
	})

	t.Run("are published again when the stream is wiped, even if new ones follow", func(t *testing.T) {
		before := eventsOf(t, client)
		var ids []string
		for id := range before {
			ids = append(ids, id)
		}
		var wiping sync.WaitGroup
		wiping.Go(func() { ids = append(ids, load(t, []string{s.HTTP}, 4, 5)...) })
		w.stream.Wipe()
		wiping.Wait()
		backingtest.Eventually(t, 30*time.Second, func() error {
			after := eventsOf(t, client)
			for _, id := range ids {
				if len(after[id]) < max(1, len(before[id])) {
					return fmt.Errorf("of order %s %d events are published, want %d or more", id, len(after[id]), len(before[id]))
				}
			}
			return published(t, s.Ops)
		})
		for id, events := range eventsOf(t, client) {
			inOrder(t, id, events)
		}
		if metrics := servicetest.Call(t, "GET", s.Ops+"/metrics", "").Body; strings.Contains(metrics, `order_service_stream_losses_total{stream="orders:events"} 0`) ||
			!strings.Contains(s.Logs(), "the stream has lost entries") {
			t.Error("the loss is not logged")
		}
	})

	t.Run("are published again by a replay", func(t *testing.T) {
		o := place(t, s.HTTP, alice)
		eventuallyTold(t, []string{o.ID}, 1)
		out, err := servicetest.Run(commands(), servicetest.Env(w.env, map[string]string{"REPLAY_SINCE": "1m"}), "replay")
		if err != nil || !strings.Contains(out, `"events":`) {
			t.Fatalf("replay: %v\n%s", err, out)
		}
		eventuallyTold(t, []string{o.ID}, 2)
		if events := eventsOf(t, client)[o.ID]; events[0].ID != events[1].ID {
			t.Errorf("an event has another id when it is published again: %+v", events)
		}
	})
}

// load lets clients place orders and deliver them, each step at any replica, and returns the ids of the orders.
func load(t *testing.T, replicas []string, clients, each int) []string {
	t.Helper()
	var mu sync.Mutex
	var ids []string
	var running sync.WaitGroup
	for c := range clients {
		running.Go(func() {
			for i := range each {
				at := func(step int) string { return replicas[(c+i+step)%len(replicas)] }
				response := try(at(0), "POST", "/orders", validOrder, alice, newKey())
				var o orderResponse
				if err := json.Unmarshal([]byte(response.Body), &o); err != nil || response.Status != http.StatusCreated {
					t.Errorf("creating an order: %+v", response)
					return
				}
				for step, move := range []string{"pay", "ship", "deliver"} {
					if moved := try(at(step+1), "POST", "/orders/"+o.ID+"/"+move, "", root, admin); moved.Status != http.StatusOK {
						t.Errorf("%s: %+v", move, moved)
					}
				}
				mu.Lock()
				ids = append(ids, o.ID)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return ids
}

func TestEventsArePublishedByTheLiveColourOnly(t *testing.T) {
	w := newWorld(t)
	var colour atomic.Value
	var checks atomic.Int64
	colour.Store("green")
	live := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) {
		checks.Add(1)
		_, _ = fmt.Fprintf(response, `{"colour":%q}`, colour.Load())
	}))
	t.Cleanup(live.Close)
	s := servicetest.Start(t, name, commands(), servicetest.Env(w.env, map[string]string{"LIVE_URL": live.URL}))
	client := w.stream.Client()
	defer func() { _ = client.Close() }()
	// The switch checks the live colour several times a second: after that many checks, a running relay has
	// had several rounds.
	severalRounds := func() {
		t.Helper()
		until := checks.Load() + 5
		backingtest.Eventually(t, 30*time.Second, func() error {
			if checks.Load() < until {
				return errors.New("the service rarely checks the live colour")
			}
			return nil
		})
	}

	o := place(t, s.HTTP, alice)
	advance(t, s.HTTP, o.ID, "pay")
	severalRounds()
	if events := eventsOf(t, client); len(events) != 0 {
		t.Errorf("it is not live and publishes: %v", events)
	}

	colour.Store("blue")
	backingtest.Eventually(t, 10*time.Second, func() error { return published(t, s.Ops) })
	if first, again := inOrder(t, o.ID, eventsOf(t, client)[o.ID]); first != 2 || again != 0 {
		t.Errorf("got %d events and %d repeated, want 2 and none", first, again)
	}

	colour.Store("green")
	severalRounds()
	place(t, s.HTTP, alice)
	severalRounds()
	if events := eventsOf(t, client); len(events) != 1 {
		t.Errorf("it is not live any more and publishes: %v", events)
	}
}
