package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/servicetest"
)

type exportResponse struct {
	User     struct{ ID string }
	Sessions []struct{ ID string }
	Orders   struct {
		Entries []struct{ ID string }
		Next    string
	}
	Notifications struct {
		Entries []struct{ ID string }
		Next    string
	}
}

// exportUsers handles the requests of an export to user-service.
func exportUsers(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/sessions") {
		_, _ = fmt.Fprintf(w, `{"sessions":[{"id":%q}]}`, aSession)
		return
	}
	_, _ = fmt.Fprintf(w, `{"id":%q}`, aUser)
}

// The size of an export is limited for any amount of data, and next tells where the rest begins.
func TestExportSizeIsLimited(t *testing.T) {
	const limit, entryBytes, perPage = 1 << 20, 2 << 10, 100
	var pages atomic.Int64
	endless := newStandIn(t, func(w http.ResponseWriter, r *http.Request) {
		page := pages.Add(1)
		if query := r.URL.Query(); query.Get("user_id") != aUser || query.Get("limit") != "100" ||
			(query.Get("after") == "") != (page == 1) || page > 1 && query.Get("after") != uuid.NewSHA1(uuid.Nil, fmt.Append(nil, page-1)).String() {
			t.Errorf("page %d is read by %s", page, r.URL.RawQuery)
		}
		_, _ = io.WriteString(w, `{"orders":[`)
		for i := range perPage {
			_, _ = io.WriteString(w, strings.Repeat(",", min(i, 1))+`{"id":"x","text":"`+strings.Repeat("x", entryBytes)+`"}`)
		}
		_, _ = fmt.Fprintf(w, `],"next":%q}`, uuid.NewSHA1(uuid.Nil, fmt.Append(nil, page)))
	})
	short := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"notifications":[{"id":"1"}]}`)
	})
	g := gateway{users: newStandIn(t, exportUsers).URL, orders: endless.URL, notifications: short.URL}.start(t)
	response := servicetest.Call(t, "GET", g.HTTP+"/api/users/me/export", "", "Authorization: Bearer "+signIn(t, g.HTTP).AccessToken)
	if response.Status != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Disposition"), "attachment") {
		t.Fatalf("got %d %.300s", response.Status, response.Body)
	}
	got := servicetest.JSON[exportResponse](t, response)
	read := int(pages.Load())
	if len(response.Body) < limit || len(response.Body) > limit+2*perPage*entryBytes || len(got.Orders.Entries) != read*perPage {
		t.Errorf("an export of %d bytes and %d orders of %d pages, want about %d bytes", len(response.Body), len(got.Orders.Entries), read, limit)
	}
	if want := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, read)).String(); got.Orders.Next != want {
		t.Errorf("the rest of the orders is after %q, want %q", got.Orders.Next, want)
	}
	if len(got.Notifications.Entries) != 1 || got.Notifications.Next != "" || len(got.Sessions) != 1 || got.User.ID != aUser {
		t.Errorf("the rest of the export is %+v, %+v, %+v", got.Notifications, got.Sessions, got.User)
	}
}

// The exports of a user per hour are limited, because each costs many requests to the services.
func TestExportsAreLimited(t *testing.T) {
	empty := func(name string) string {
		return newStandIn(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, `{%q:[]}`, name) }).URL
	}
	g := gateway{users: newStandIn(t, exportUsers).URL, orders: empty("orders"), notifications: empty("notifications")}.start(t)
	token := "Authorization: Bearer " + signIn(t, g.HTTP).AccessToken
	var last servicetest.Response
	for i := range 30 { // a window may end while the test runs
		if last = servicetest.Call(t, "GET", g.HTTP+"/api/users/me/export", "", token); last.Status != http.StatusOK {
			if i < 10 {
				t.Errorf("export %d is refused", i+1)
			}
			break
		}
	}
	if last.Status != http.StatusTooManyRequests || last.Header.Get("Retry-After") == "" {
		t.Errorf("after many exports: %+v", last)
	}
}

// An export is complete, or fails with the status of the failed service.
func TestExportWithUnavailableService(t *testing.T) {
	good := map[string]http.HandlerFunc{
		"users":         exportUsers,
		"orders":        func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"orders":[]}`) },
		"notifications": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"notifications":[]}`) },
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	cut := func(w http.ResponseWriter, _ *http.Request) {
		if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = connection.Close()
		}
	}
	noSessions := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/sessions") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		exportUsers(w, r)
	}
	// Each case has its own gateway, so that no breaker is open.
	for _, c := range []struct {
		name, service string
		handler       http.HandlerFunc // nil: the service is down
		want          int
	}{
		{"user-service is unavailable", "users", status(503), 503},
		{"the sessions are unavailable", "users", noSessions, 503},
		{"the user is deleted", "users", status(404), 404},
		{"user-service fails", "users", status(500), 502},
		{"order-service is down", "orders", nil, 503},
		{"order-service is unavailable", "orders", status(503), 503},
		{"order-service fails", "orders", status(500), 502},
		{"order-service cuts the connection", "orders", cut, 502},
		{"order-service sends no list", "orders", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"orders":1}`) }, 502},
		{"notification-service is down", "notifications", nil, 503},
		{"notification-service refuses the gateway", "notifications", status(401), 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			urls := map[string]string{}
			for service, handler := range good {
				if service == c.service {
					handler = c.handler
				}
				if handler != nil {
					urls[service] = newStandIn(t, handler).URL
				}
			}
			g := gateway{users: urls["users"], orders: urls["orders"], notifications: urls["notifications"]}.start(t)
			response := servicetest.Call(t, "GET", g.HTTP+"/api/users/me/export", "", "Authorization: Bearer "+signIn(t, g.HTTP).AccessToken)
			isProblem := response.Header.Get("Content-Type") == "application/problem+json" && !strings.Contains(response.Body, aSession)
			if response.Status != c.want || !isProblem || (response.Header.Get("Retry-After") != "") != (c.want == 503) || response.Header.Get("Content-Disposition") != "" {
				t.Errorf("got %+v, want %d", response, c.want)
			}
		})
	}
}
