package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

const (
	alice = "X-User-Id: 0192a000-0000-7000-8000-00000000a11c"
	bob   = "X-User-Id: 0192a000-0000-7000-8000-000000000b0b"
	root  = "X-User-Id: 0192a000-0000-7000-8000-00000000ad01"
	admin = "X-User-Role: admin"
	user  = "X-User-Role: user"

	validOrder = `{"currency":"EUR","items":[{"sku":"A-1","quantity":2,"unit_price":1250},{"sku":"b.2_c","quantity":1,"unit_price":0}]}`
)

type orderResponse struct {
	ID       string `json:"id"`
	UserID   string `json:"user_id"`
	Status   string `json:"status"`
	Currency string `json:"currency"`
	Total    int64  `json:"total"`
	Items    []struct {
		SKU       string `json:"sku"`
		Quantity  int64  `json:"quantity"`
		UnitPrice int64  `json:"unit_price"`
	} `json:"items"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"`
}

type pageResponse struct {
	Orders []orderResponse
	Next   string
}

type problemResponse struct {
	Code, Detail string
	RequestID    string `json:"request_id"`
	Errors       []struct{ Pointer, Detail string }
}

// world is the service's backing services, with its schema.
type world struct {
	postgres *backingtest.Postgres
	stream   *backingtest.Redis
	env      map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{postgres: backingtest.StartPostgres(t), stream: backingtest.StartStream(t)}
	w.env = servicetest.Env(w.postgres.Env(), w.stream.Env(name), map[string]string{
		"SERVICE_VERSION": "0123456789ab", "SERVICE_COLOUR": "blue",
	})
	if out, err := servicetest.Run(commands(), w.env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	return w
}

func newKey() string { return "Idempotency-Key: " + uuid.NewString() }

// place creates a valid order at the service with this base URL.
func place(t *testing.T, at, owner string) orderResponse {
	t.Helper()
	response := servicetest.Call(t, "POST", at+"/orders", validOrder, owner, user, newKey())
	if response.Status != http.StatusCreated {
		t.Fatalf("creating an order: %+v", response)
	}
	return servicetest.JSON[orderResponse](t, response)
}

// advance makes moves as an admin.
func advance(t *testing.T, at, id string, moves ...string) {
	t.Helper()
	for _, move := range moves {
		if response := servicetest.Call(t, "POST", at+"/orders/"+id+"/"+move, "", root, admin); response.Status != http.StatusOK {
			t.Fatalf("%s: %+v", move, response)
		}
	}
}

func TestOrders(t *testing.T) {
	w := newWorld(t)
	s := servicetest.Start(t, name, commands(), w.env)
	servicetest.CountersBeginAtZero(t, s.Ops)
	t.Run("it passes its own verification", func(t *testing.T) { servicetest.Verifies(t, name, commands(), w.env, s.HTTP) })
	t.Run("create, read and list", func(t *testing.T) { testReading(t, s.HTTP) })
	t.Run("idempotency", func(t *testing.T) { testIdempotency(t, w, s.HTTP) })
	t.Run("moves", func(t *testing.T) { testMoves(t, w, s.HTTP) })
	t.Run("refuses", func(t *testing.T) { testRefusals(t, s.HTTP) })

	t.Run("metrics count by pattern, never by path", func(t *testing.T) {
		backingtest.Eventually(t, 10*time.Second, func() error { return published(t, s.Ops) })
		metrics := servicetest.Call(t, "GET", s.Ops+"/metrics", "").Body
		for _, want := range []string{
			`order_service_requests_total{endpoint="/orders/{id}",method="GET",status="2xx"}`,
			`order_service_requests_total{endpoint="/orders/{id}/pay",method="POST",status="2xx"}`,
			`order_service_request_duration_seconds_count{endpoint="/orders",method="POST"}`,
			"order_service_outbox_unpublished{", "order_service_outbox_oldest_unpublished_seconds{",
			`order_service_events_published_total{stream="orders:events",type="order.created"}`, `order_service_stream_losses_total{stream="orders:events"} 0`,
			"postgres_pool_acquired_connections", "redis_pool_connections", "service_live 1",
		} {
			if !strings.Contains(metrics, want) {
				t.Errorf("/metrics lacks %s", want)
			}
		}
	})
}

func testReading(t *testing.T, at string) {
	response := servicetest.Call(t, "POST", at+"/orders", validOrder, alice, user, newKey())
	created := servicetest.JSON[orderResponse](t, response)

	t.Run("the response contains the whole order", func(t *testing.T) {
		if response.Status != http.StatusCreated || response.Header.Get("Location") != "/orders/"+created.ID || response.Header.Get("ETag") != `"1"` ||
			response.Header.Get("Idempotency-Replayed") != "" {
			t.Errorf("got %+v", response)
		}
		if created.Status != "pending" || created.Currency != "EUR" || created.Total != 2500 || created.Version != 1 ||
			"X-User-Id: "+created.UserID != alice || len(created.Items) != 2 || created.Items[1].SKU != "b.2_c" ||
			!created.CreatedAt.Equal(created.UpdatedAt) || time.Since(created.CreatedAt).Abs() > time.Minute {
			t.Errorf("got %+v", created)
		}
	})

	t.Run("a version that the client has is not sent again", func(t *testing.T) {
		for _, c := range []struct {
			condition string
			status    int
		}{{`"1"`, 304}, {`W/"1"`, 304}, {`"2", "1"`, 304}, {`*`, 304}, {`"2"`, 200}, {`1`, 400}} {
			a := servicetest.Call(t, "GET", at+"/orders/"+created.ID, "", alice, user, "If-None-Match: "+c.condition)
			if a.Status != c.status || (a.Body == "") != (c.status == 304) || (a.Header.Get("ETag") == `"1"`) != (c.status < 400) {
				t.Errorf("If-None-Match: %s: got %+v, want %d", c.condition, a, c.status)
			}
		}
		if a := servicetest.Call(t, "GET", at+"/orders/"+created.ID, "", bob, user, "If-None-Match: *"); a.Status != http.StatusNotFound {
			t.Errorf("another user's: %+v", a)
		}
	})

	t.Run("only its owner and an admin can read it", func(t *testing.T) {
		for _, c := range []struct {
			name    string
			headers []string
			status  int
		}{
			{"owner", []string{alice, user}, 200},
			{"an admin", []string{root, admin}, 200},
			{"another user", []string{bob, user}, 404},
			{"nobody", nil, 401},
			{"an admin without a name", []string{admin}, 401},
		} {
			got := servicetest.Call(t, "GET", at+"/orders/"+created.ID, "", c.headers...)
			if got.Status != c.status || c.status == 200 && got.Body != response.Body {
				t.Errorf("%s: got %+v, want %d and the order of the first response", c.name, got, c.status)
			}
		}
	})

	t.Run("are listed by pages, newest first", func(t *testing.T) {
		carol := "X-User-Id: " + uuid.NewString()
		var placed []string
		for range 5 {
			placed = append([]string{place(t, at, carol).ID}, placed...)
		}
		list := func(query string, headers ...string) (ids []string) {
			for after := ""; ; {
				p := servicetest.JSON[pageResponse](t, servicetest.Call(t, "GET", at+"/orders?limit=2"+query+after, "", headers...))
				for _, o := range p.Orders {
					ids = append(ids, o.ID)
				}
				if p.Next == "" {
					return ids
				}
				after = "&after=" + p.Next
			}
		}
		id := strings.TrimPrefix(carol, "X-User-Id: ")
		want := fmt.Sprint(placed)
		if got := fmt.Sprint(list("", carol, user)); got != want {
			t.Errorf("her own: got %s, want %s", got, want)
		}
		if got := fmt.Sprint(list("&user_id="+id, carol, user)); got != want {
			t.Errorf("her own by name: got %s, want %s", got, want)
		}
		if got := fmt.Sprint(list("&user_id="+id, root, admin)); got != want {
			t.Errorf("an admin, of her: got %s, want %s", got, want)
		}
		if all := list("", root, admin); len(all) < 6 || fmt.Sprint(all[:5]) != want {
			t.Errorf("an admin, of all: got %v, want first %s", all, want)
		}
		empty := servicetest.Call(t, "GET", at+"/orders", "", "X-User-Id: "+uuid.NewString())
		if strings.TrimSpace(empty.Body) != `{"orders":[]}` {
			t.Errorf("of one without orders: got %s", empty.Body)
		}
	})
}

func TestInvalidConfigurationIsReportedAtOnce(t *testing.T) {
	for _, c := range []struct {
		command string
		want    []string
	}{
		{"", []string{"POSTGRES_HOST", "POSTGRES_PASSWORD", "STREAM_ADDR", "LIVE_URL"}},
		{"replay", []string{"POSTGRES_HOST", "REPLAY_SINCE"}},
	} {
		_, err := servicetest.Run(commands(), map[string]string{"LIVE_URL": "nowhere", "REPLAY_SINCE": "1000h"}, c.command)
		if err == nil {
			t.Fatalf("%q started", c.command)
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v\nlacks %s", c.command, err, want)
			}
		}
	}
}
