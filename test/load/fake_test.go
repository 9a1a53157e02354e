package load

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fake is a fake of the gateway's API, with faults that a test injects.
type fake struct {
	server *httptest.Server

	mu      sync.Mutex
	users   int
	removed int
	orders  map[string][]string // by token
	keys    map[string]string   // order ID by idempotency key
	seen    int                 // number of requests of the load itself

	// before runs before each request of the load, with its number from 1; true: before has sent the response.
	before func(n int, w http.ResponseWriter, r *http.Request) bool
	// Whether the acknowledged order with number n is stored, and its number of notifications.
	stores   func(n int) bool
	notifies func(n int) int
	timing   []string
}

func newFake(t *testing.T) *fake {
	t.Helper()
	t.Parallel() // tests mostly wait
	f := &fake{orders: map[string][]string{}, keys: map[string]string{}}
	router := http.NewServeMux()
	router.HandleFunc("POST /api/users", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.users++
		w.WriteHeader(http.StatusCreated)
	})
	router.HandleFunc("POST /api/auth/token", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		reply(w, http.StatusOK, map[string]any{"access_token": fmt.Sprintf("token-%d", f.users)})
	})
	router.HandleFunc("DELETE /api/users/me", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.removed++
		w.WriteHeader(http.StatusNoContent)
	})
	ok := func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, map[string]any{}) }
	router.HandleFunc("GET /api/users/me", f.counted(ok))
	router.HandleFunc("PATCH /api/users/me", f.counted(ok))
	router.HandleFunc("GET /api/orders/{id}", f.counted(ok))
	router.HandleFunc("POST /api/orders", f.counted(f.order))
	router.HandleFunc("GET /api/orders", f.counted(func(w http.ResponseWriter, r *http.Request) {
		f.list(w, r, "orders", "id", func(n int) int {
			if f.stores == nil || f.stores(n) {
				return 1
			}
			return 0
		})
	}))
	router.HandleFunc("GET /api/notifications", f.counted(func(w http.ResponseWriter, r *http.Request) {
		f.list(w, r, "notifications", "order_id", func(n int) int {
			if f.notifies == nil {
				return 1
			}
			return f.notifies(n)
		})
	}))
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(usedKey{}).(*atomic.Int32).Add(1)
		f.mu.Lock()
		w.Header()["Server-Timing"] = f.timing
		f.mu.Unlock()
		router.ServeHTTP(w, r)
	}))
	f.server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, usedKey{}, new(atomic.Int32))
	}
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	return f
}

type usedKey struct{}

// usedBefore reports whether the connection of the request served another request before.
func usedBefore(r *http.Request) bool { return r.Context().Value(usedKey{}).(*atomic.Int32).Load() > 1 }

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// counted lets a test act before a request of the load. Requests of Settle don't count: they ask for the maximum page size.
func (f *fake) counted(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("limit") != fmt.Sprint(pageSize) {
			f.mu.Lock()
			f.seen++
			n := f.seen
			f.mu.Unlock()
			if f.before != nil && f.before(n, w, r) {
				return
			}
		}
		next(w, r)
	}
}

func (f *fake) order(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key, token := r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization")
	id, known := f.keys[token+key]
	if !known {
		id = fmt.Sprintf("%s-%06d", strings.TrimPrefix(token, "Bearer "), len(f.keys))
		f.keys[token+key], f.orders[token] = id, append(f.orders[token], id)
	}
	reply(w, http.StatusCreated, map[string]any{"id": id})
}

// list returns a page of a user's orders; times returns how often the order with that number is listed.
func (f *fake) list(w http.ResponseWriter, r *http.Request, name, field string, times func(n int) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []map[string]string
	for n, id := range f.orders[r.Header.Get("Authorization")] {
		for range times(n) {
			all = append(all, map[string]string{field: id})
		}
	}
	var from, limit int
	_, _ = fmt.Sscan(r.URL.Query().Get("after"), &from)
	_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
	list := map[string]any{}
	if from+limit < len(all) {
		list["next"] = fmt.Sprint(from + limit)
	}
	list[name] = all[from:min(from+limit, len(all))]
	reply(w, http.StatusOK, list)
}

func (f *fake) trusted() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(f.server.Certificate())
	return pool
}

// start starts a run of two users that is long enough for all kinds of requests.
func (f *fake) start(t *testing.T, change func(*Options)) *Run {
	t.Helper()
	options := Options{BaseURL: f.server.URL, RootCAs: f.trusted(), Rate: 250, Duration: 400 * time.Millisecond, Users: 2}
	if change != nil {
		change(&options)
	}
	r, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop() })
	return r
}

// whole returns the result of a complete run.
func whole(r *Run) Result {
	<-r.Done()
	return r.Stop()
}
