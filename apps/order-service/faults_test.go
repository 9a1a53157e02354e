package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

// requests are requests for orders, each with its own key.
type requests struct {
	owner string // of all orders

	mu       sync.Mutex
	received map[string]servicetest.Response // by key, including those without an order
	created  atomic.Int64
}

func newRequests() *requests {
	return &requests{owner: "X-User-Id: " + uuid.NewString(), received: map[string]servicetest.Response{}}
}

func (r *requests) place(at string) servicetest.Response {
	key := newKey()
	response := try(at, "POST", "/orders", validOrder, r.owner, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received[key] = response
	if response.Status == http.StatusCreated {
		r.created.Add(1)
	}
	return response
}

// from lets clients place orders, each one after the other, until stop is called.
func (r *requests) from(clients int, at string, received func(servicetest.Response)) (stop func()) {
	stopped := make(chan struct{})
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond) // while all fails it fails fast
			defer pace.Stop()
			for {
				received(r.place(at))
				select {
				case <-stopped:
					return
				case <-pace.C:
				}
			}
		})
	}
	return sync.OnceFunc(func() { close(stopped); running.Wait() })
}

// atLeast waits until n orders are created.
func (r *requests) atLeast(t *testing.T, n int64) {
	t.Helper()
	backingtest.Eventually(t, 60*time.Second, func() error {
		if got := r.created.Load(); got < n {
			return fmt.Errorf("%d orders are created, want %d", got, n)
		}
		return nil
	})
}

// repeat sends every request again. Each must have created one order, that of its first response if there was one.
// It returns the number of orders that were created without a response.
func (r *requests) repeat(t *testing.T, w *world, at string) (unheard int) {
	t.Helper()
	for key, first := range r.received {
		again := try(at, "POST", "/orders", validOrder, r.owner, key)
		replayed := again.Header.Get("Idempotency-Replayed") == "true"
		if again.Status != http.StatusCreated {
			t.Errorf("repeated: %+v", again)
		}
		if first.Status == http.StatusCreated && (!replayed || again.Body != first.Body) {
			t.Errorf("the first response is %s\nthe second          %s", first.Body, again.Body)
		}
		if first.Status != http.StatusCreated && replayed {
			unheard++
		}
	}
	var orders, events int
	err := w.postgres.Connect().QueryRow(t.Context(), `SELECT count(DISTINCT orders.id), count(event_id) FROM orders
		LEFT JOIN outbox ON order_id = orders.id WHERE user_id = $1`,
		strings.TrimPrefix(r.owner, "X-User-Id: ")).Scan(&orders, &events)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(r.received); orders != want || events != want {
		t.Errorf("of %d requests came %d orders and %d events", want, orders, events)
	}
	return unheard
}

func TestPostgresIsKilledUnderLoad(t *testing.T) {
	w := newWorld(t)
	s := servicetest.Start(t, name, commands(), w.env)
	all := newRequests()
	var refused atomic.Int64
	stop := all.from(8, s.HTTP, func(response servicetest.Response) {
		switch {
		case response.Status == http.StatusCreated:
		case response.Status == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "":
			refused.Add(1)
		default:
			t.Errorf("got %+v, want 201, or 503 with Retry-After", response)
		}
	})
	defer stop()
	for range 2 {
		all.atLeast(t, all.created.Load()+50)
		before := refused.Load()
		w.postgres.Stop()
		backingtest.Eventually(t, 30*time.Second, func() error {
			if refused.Load() < before+20 {
				return errors.New("nothing is refused, without a database")
			}
			return nil
		})
		if livez := servicetest.Call(t, "GET", s.Ops+"/livez", ""); livez.Status != http.StatusOK {
			t.Errorf("/livez depends on Postgres: %+v", livez)
		}
		w.postgres.Start()
	}
	all.atLeast(t, all.created.Load()+50)
	stop()
	all.repeat(t, w, s.HTTP)
	allPublished(t, w, s.Ops)
}

func TestPostgresHangs(t *testing.T) {
	w := newWorld(t)
	s := servicetest.Start(t, name, commands(), w.env)
	all := newRequests()
	all.place(s.HTTP)
	w.postgres.Hang()
	refused := func() time.Duration {
		start := time.Now()
		if response := all.place(s.HTTP); response.Status != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
			t.Errorf("got %+v, want 503 with Retry-After", response)
		}
		return time.Since(start)
	}
	start := time.Now()
	var running sync.WaitGroup
	for range 20 { // more than the pool has connections
		running.Go(func() { refused() })
	}
	running.Wait()
	first := time.Since(start)
	for range 10 {
		if took := refused(); took > first/10 {
			t.Errorf("once Postgres is known not to respond, a request takes %s to fail; the first ones took %s", took, first)
		}
	}
	w.postgres.Resume()
	backingtest.Eventually(t, 30*time.Second, func() error {
		if response := try(s.HTTP, "GET", "/orders", "", all.owner); response.Status != http.StatusOK {
			return fmt.Errorf("it doesn't heal: %+v", response)
		}
		return nil
	})
	all.repeat(t, w, s.HTTP)
	allPublished(t, w, s.Ops)
}

// allPublished waits until the stream contains each event in the outbox, in order per order.
func allPublished(t *testing.T, w *world, ops string) {
	t.Helper()
	backingtest.Eventually(t, 30*time.Second, func() error { return published(t, ops) })
	client := w.stream.Client()
	defer func() { _ = client.Close() }()
	first := 0
	for id, events := range eventsOf(t, client) {
		n, _ := inOrder(t, id, events)
		first += n
	}
	var written int
	if err := w.postgres.Connect().QueryRow(t.Context(), "SELECT count(*) FROM outbox").Scan(&written); err != nil {
		t.Fatal(err)
	}
	if first != written {
		t.Errorf("%d events are published, %d are written", first, written)
	}
}

// The process is killed while it works: no acknowledged request is lost or done twice, and every event is published.
func TestServiceIsKilled(t *testing.T) {
	w := newWorld(t)
	proxy := backingtest.StartProxy(t, w.postgres.Addr())
	binary := servicetest.Build(t, "platform.example/apps/order-service", servicetest.Env(w.env, proxy.Env(w.postgres.Env())))

	t.Run("between commit and reply", func(t *testing.T) {
		s := binary.Start()
		all := newRequests()
		// The service waits for the response to the commit. Connections and statements take up to a dozen responses
		// within the 4 s of a request.
		proxy.Delay(200 * time.Millisecond)
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() { all.place(s.HTTP) })
		}
		database := w.postgres.Connect()
		backingtest.Eventually(t, 30*time.Second, func() error {
			var orders int
			if err := database.QueryRow(t.Context(), "SELECT count(*) FROM orders").Scan(&orders); err != nil {
				return err
			}
			if orders < 4 {
				return fmt.Errorf("%d of 4 orders are committed", orders)
			}
			return nil
		})
		s.Kill()
		running.Wait()
		proxy.Delay(0)
		if unheard := all.repeat(t, w, binary.Start().HTTP); unheard == 0 {
			t.Error("it was killed too late: all requests had been received")
		}
	})

	t.Run("under load, while it publishes", func(t *testing.T) {
		all := newRequests()
		for range 3 {
			s := binary.Start()
			stop := all.from(8, s.HTTP, func(servicetest.Response) {})
			all.atLeast(t, all.created.Load()+60)
			s.Kill()
			stop()
		}
		s := binary.Start()
		t.Logf("of %d requests, %d had no response but an order", len(all.received), all.repeat(t, w, s.HTTP))
		allPublished(t, w, s.Ops)
	})
}
