package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/api-gateway/internal/limit"
	"platform.example/apps/api-gateway/internal/session"
	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

const (
	aUser    = "0190f3a0-0000-7000-8000-000000000001"
	aSession = "0190f3a0-0000-7000-8000-000000000002"
	another  = "0190f3a0-0000-7000-8000-000000000009"

	anAddress, anotherAddress = "192.0.2.1", "192.0.2.2"
)

// fixture is an API whose services are one server: the first element of a request's path there is the service.
type fixture struct {
	*API
	t       *testing.T
	handler http.Handler

	mu       sync.Mutex
	handlers map[string]http.HandlerFunc // by method and path; other requests get 200
	received []string                    // methods, paths and queries
}

// newFixture returns an API whose limits allow many requests.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, handlers: map[string]http.HandlerFunc{}}
	server := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(server.Close)
	registry := prometheus.NewRegistry()
	signer := backingtest.Must[*identity.Signer](t)(identity.ParseSigner("test:" + strings.Repeat("A", 43)))
	service := func(name string) *upstream.Service {
		base := backingtest.Must[*url.URL](t)(url.Parse(server.URL + "/" + name))
		return upstream.New(name, base, signer, registry)
	}
	keys := "a:ed25519." + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	f.API = &API{
		Tokens: token.NewAuthority(backingtest.Must[token.Keys](t)(token.ParseKeys(keys))),
		Users:  service("users"), Orders: service("orders"), Notifications: service("notifications"),
		Requests: newLimit(1000), Accounts: newLimit(1000), Sources: newLimit(1000), Exports: newLimit(1000),
	}
	f.Sessions = session.New(f.Users, slog.New(slog.DiscardHandler), registry)
	router := chi.NewRouter()
	f.Register(router, &problem.Mapper{Log: slog.New(slog.DiscardHandler)})
	f.handler = router
	return f
}

func newLimit(most int) *limit.Limit {
	return limit.New("test", most, 24*time.Hour, prometheus.NewRegistry())
}

func (f *fixture) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.received = append(f.received, r.Method+" "+r.URL.RequestURI())
	handle := f.handlers[r.Method+" "+r.URL.Path]
	f.mu.Unlock()
	if handle != nil {
		handle(w, r)
	}
}

// on sets the response of a service.
func (f *fixture) on(request string, handle http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handlers[request] = handle
}

// sent returns the requests to the services since the last call.
func (f *fixture) sent() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	sent := f.received
	f.received = nil
	return sent
}

// bearer returns the Authorization header of a user.
func (f *fixture) bearer(id string, role identity.Role) string {
	f.t.Helper()
	holder := token.Holder{Caller: identity.Caller{UserID: id, Role: role}, SessionID: aSession}
	return "Authorization: Bearer " + backingtest.Must[string](f.t)(f.Tokens.Issue(holder, token.Life))
}

// call sends a request to the API from anAddress. Headers are "Name: value"; an empty one is ignored.
func (f *fixture) call(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	return f.from(anAddress, method, path, body, headers...)
}

func (f *fixture) from(address, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = address + ":4711"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		if name, value, found := strings.Cut(header, ": "); found {
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func responds(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// cut closes the connection without a response.
func cut(w http.ResponseWriter, _ *http.Request) {
	if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = connection.Close()
	}
}

func TestRoutesAdmitTheirCallers(t *testing.T) {
	f := newFixture(t)
	user, admin := f.bearer(aUser, identity.User), f.bearer(aUser, identity.Admin)
	for _, c := range []struct {
		request, caller string
		status          int
		sent            string // "" if the services get no request
	}{
		{"POST /api/users", "", 200, "POST /users/users"},
		{"POST /api/users", user, 200, "POST /users/users"},
		{"GET /api/users", "", 401, ""},
		{"GET /api/users", user, 403, ""},
		{"GET /api/users", admin, 200, "GET /users/users"},
		{"GET /api/users?limit=2", admin, 200, "GET /users/users?limit=2"},
		{"GET /api/audit", user, 403, ""},
		{"GET /api/audit", admin, 200, "GET /users/audit"},

		{"GET /api/users/me", "", 401, ""},
		{"GET /api/users/me", user, 200, "GET /users/users/" + aUser},
		{"GET /api/users/" + aUser, user, 200, "GET /users/users/" + aUser},
		{"GET /api/users/" + another, user, 403, ""},
		{"GET /api/users/" + another, admin, 200, "GET /users/users/" + another},
		{"GET /api/users/you", admin, 404, ""},
		{"PATCH /api/users/me", user, 200, "PATCH /users/users/" + aUser},
		{"PATCH /api/users/" + another, user, 403, ""},
		{"PATCH /api/users/" + another, admin, 200, "PATCH /users/users/" + another},
		{"DELETE /api/users/me", user, 200, "DELETE /users/users/" + aUser},
		{"DELETE /api/users/me", "", 401, ""},
		{"GET /api/users/me/sessions", user, 200, "GET /users/users/" + aUser + "/sessions"},
		{"DELETE /api/users/me/sessions/" + another, user, 200, "DELETE /users/users/" + aUser + "/sessions/" + another},
		{"DELETE /api/users/me/sessions/me", user, 404, ""},

		{"POST /api/orders", "", 401, ""},
		{"POST /api/orders", user, 200, "POST /orders/orders"},
		{"GET /api/orders/me", user, 404, ""}, // "me" is a user, not an order
		{"GET /api/orders/" + another, user, 200, "GET /orders/orders/" + another},
		{"POST /api/orders/" + another + "/cancel", user, 200, "POST /orders/orders/" + another + "/cancel"},
		{"POST /api/orders/" + another + "/pay", user, 403, ""},
		{"POST /api/orders/" + another + "/pay", admin, 200, "POST /orders/orders/" + another + "/pay"},
		{"GET /api/notifications", user, 200, "GET /notifications/notifications"},
		{"POST /api/notifications/" + another + "/read", user, 200, "POST /notifications/notifications/" + another + "/read"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		w := f.call(method, path, "", c.caller)
		if sent := strings.Join(f.sent(), ", "); w.Code != c.status || sent != c.sent {
			t.Errorf("%s as %.40q: %d, the services get %q; want %d and %q", c.request, c.caller, w.Code, sent, c.status, c.sent)
		}
	}
}

func TestRequestsWithoutAValidTokenAreRefused(t *testing.T) {
	f := newFixture(t)
	user := f.bearer(aUser, identity.User)
	for name, headers := range map[string][]string{
		"no header":      nil,
		"two headers":    {user, user},
		"another scheme": {strings.Replace(user, "Bearer", "Basic", 1)},
		"no token":       {"Authorization: Bearer"},
		"a forged token": {user + "A"},
	} {
		if w := f.call("GET", "/api/orders", "", headers...); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if sent := f.sent(); len(sent) > 0 {
		t.Errorf("the services get %q", sent)
	}
	if w := f.call("GET", "/api/orders", "", strings.Replace(user, "Bearer", "bearer", 1)); w.Code != http.StatusOK {
		t.Errorf("a scheme in lower case: %d", w.Code)
	}
}

func TestEndedSessionIsRefused(t *testing.T) {
	f := newFixture(t)
	f.on("GET /users/sessions/revoked", responds(fmt.Sprintf(`{"revoked":[{"session_id":%q,"at":%q}]}`, aSession, time.Now().Format(time.RFC3339Nano))))
	stop := f.watch()
	defer stop()
	backingtest.Eventually(t, 30*time.Second, func() error { return f.Sessions.Known(t.Context()) })
	if w := f.call("GET", "/api/orders", "", f.bearer(aUser, identity.User)); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "session has ended") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Only POST /api/orders is repeated because of its Idempotency-Key.
func TestIdempotencyKeyAllowsARetryOfOrdersOnly(t *testing.T) {
	for path, c := range map[string]struct {
		status, sent int
	}{"/api/orders": {200, 2}, "/api/notifications/read": {502, 1}} {
		f := newFixture(t)
		service := strings.Split(path, "/")[2]
		request := "POST /" + service + strings.TrimPrefix(path, "/api")
		var once sync.Once
		f.on(request, func(w http.ResponseWriter, r *http.Request) { once.Do(func() { cut(w, r) }) })
		w := f.call("POST", path, "{}", f.bearer(aUser, identity.User), "Idempotency-Key: k")
		if sent := f.sent(); w.Code != c.status || len(sent) != c.sent {
			t.Errorf("%s: %d after %q, want %d after %d requests", path, w.Code, sent, c.status, c.sent)
		}
	}
}

func TestRequestsAreLimitedPerUserOrAddress(t *testing.T) {
	f := newFixture(t)
	user, someone := f.bearer(aUser, identity.User), f.bearer(another, identity.User)
	for _, c := range []struct {
		name, path, caller, address string
		status                      int
	}{
		{"a user", "/api/orders", user, anAddress, 200},
		{"the same user at another address", "/api/orders", user, anotherAddress, 429},
		{"another user at the first address", "/api/orders", someone, anAddress, 200},
		{"no user", "/api/orders", "", anAddress, 401},
		{"no user again", "/api/orders", "", anAddress, 429},
		{"a public path at that address", "/api/auth/email", "", anAddress, 429},
		{"a public path at another address", "/api/auth/email", "", anotherAddress, 200},
		{"a sign-in at that address", "/api/auth/token", "", anotherAddress, 429},
		{"an address of an IPv6 network", "/api/auth/email", "", "[2001:db8::1]", 200},
		{"another one of the network", "/api/auth/email", "", "[2001:db8::2]", 429},
	} {
		if c.name == "a user" {
			f.Requests = newLimit(1)
		}
		w := f.from(c.address, "POST", c.path, "{}", c.caller)
		if limited := w.Header().Get("Ratelimit") != "" && w.Header().Get("Retry-After") != ""; w.Code != c.status || limited != (c.status == 429) {
			t.Errorf("%s: %d with %v, want %d", c.name, w.Code, w.Header(), c.status)
		}
	}
}

// Only a wrong password counts against an account.
func TestWrongPasswordsOfAUserAreLimited(t *testing.T) {
	f := newFixture(t)
	f.Accounts = newLimit(2)
	user := f.bearer(aUser, identity.User)
	f.on("PATCH /users/users/"+aUser, status(http.StatusUnprocessableEntity))
	for range 3 {
		if w := f.call("PATCH", "/api/users/me", "{}", user); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("a change: %d", w.Code)
		}
	}
	f.on("PATCH /users/users/"+aUser, cut)
	for range 3 {
		if w := f.call("PATCH", "/api/users/me", "{}", user); w.Code != http.StatusBadGateway {
			t.Errorf("a change without a response: %d", w.Code)
		}
	}
	f.on("PATCH /users/users/"+aUser, status(http.StatusForbidden))
	for i, want := range []int{403, 403, 429} {
		if w := f.call("PATCH", "/api/users/me", "{}", user); w.Code != want {
			t.Errorf("wrong password %d: %d, want %d", i+1, w.Code, want)
		}
	}
	if w := f.call("GET", "/api/users/me", "", user); w.Code != http.StatusOK {
		t.Errorf("a request without the password: %d", w.Code)
	}
}

func TestExportOfAUser(t *testing.T) {
	f := newFixture(t)
	user, admin := f.bearer(aUser, identity.User), f.bearer(aUser, identity.Admin)
	list := func(name string, bytes int, next string) http.HandlerFunc { // of two entries
		return responds(fmt.Sprintf(`{%q:["%s",1],"next":%q}`, name, strings.Repeat("x", bytes-len(`["",1]`)), next))
	}
	f.on("GET /users/users/"+aUser, responds(`{"id":"u"}`))
	f.on("GET /users/users/"+aUser+"/sessions", responds(`{"sessions":[{"id":"s"}]}`))
	f.on("GET /orders/orders", list("orders", 10, ""))
	f.on("GET /notifications/notifications", list("notifications", 10, ""))

	w := f.call("GET", "/api/users/me/export", "", user)
	var export struct {
		User     struct{ ID string }
		Sessions []struct{ ID string }
		Orders   struct {
			Entries []any
			Next    string
		}
		Notifications struct{ Entries []any }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &export); err != nil || w.Code != http.StatusOK ||
		export.User.ID != "u" || len(export.Sessions) != 1 || len(export.Orders.Entries) != 2 || len(export.Notifications.Entries) != 2 {
		t.Errorf("%d %s: %v", w.Code, w.Body, err)
	}
	if disposition := w.Header().Get("Content-Disposition"); disposition != `attachment; filename="export.json"` {
		t.Errorf("the disposition is %s", disposition)
	}
	want := []string{"GET /users/users/" + aUser, "GET /users/users/" + aUser + "/sessions",
		"GET /orders/orders?limit=100&user_id=" + aUser, "GET /notifications/notifications?limit=100"}
	if sent := f.sent(); !slices.Equal(sent, want) {
		t.Errorf("the services get\n%q, want\n%q", sent, want)
	}

	// A list ends with the page that reaches exportBytes.
	for bytes, want := range map[int]int{exportBytes: 1, exportBytes - 1: 2, exportBytes / 2: 2, exportBytes/2 - 1: 3} {
		f.on("GET /orders/orders", list("orders", bytes, another))
		f.sent()
		w = f.call("GET", "/api/users/me/export", "", user)
		export.Orders.Entries, export.Orders.Next = nil, ""
		if err := json.Unmarshal(w.Body.Bytes(), &export); err != nil {
			t.Fatal(err)
		}
		pages := slices.DeleteFunc(f.sent(), func(request string) bool { return !strings.HasPrefix(request, "GET /orders") })
		if len(pages) != want || len(export.Orders.Entries) != 2*want || export.Orders.Next != another {
			t.Errorf("pages of %d bytes: %d with %d entries, next %q; want %d pages", bytes, len(pages), len(export.Orders.Entries), export.Orders.Next, want)
		}
		if want > 1 && pages[1] != "GET /orders/orders?after="+another+"&limit=100&user_id="+aUser {
			t.Errorf("the second page is %s", pages[1])
		}
	}
	f.on("GET /orders/orders", list("orders", 10, ""))

	for _, c := range []struct {
		name, path, caller string
		on                 string
		handle             http.HandlerFunc
		status             int
	}{
		{name: "nobody", path: "/api/users/me/export", status: 401},
		{name: "another user", path: "/api/users/" + another + "/export", caller: user, status: 403},
		{name: "an admin for another user", path: "/api/users/" + another + "/export", caller: admin, status: 403},
		{name: "not an id", path: "/api/users/you/export", caller: user, status: 404},
		{"a deleted user", "/api/users/me/export", user, "GET /users/users/" + aUser, status(404), 404},
		{"no sessions", "/api/users/me/export", user, "GET /users/users/" + aUser + "/sessions", status(503), 503},
		{"no orders", "/api/users/me/export", user, "GET /orders/orders", status(503), 503},
		{"no list of orders", "/api/users/me/export", user, "GET /orders/orders", responds(`{"orders":1}`), 502},
		{"no notifications", "/api/users/me/export", user, "GET /notifications/notifications", status(503), 503},
	} {
		f.mu.Lock()
		former := f.handlers[c.on]
		f.mu.Unlock()
		f.on(c.on, c.handle)
		if w := f.call("GET", c.path, "", c.caller); w.Code != c.status || w.Header().Get("Content-Disposition") != "" {
			t.Errorf("%s: %d with %v, want %d", c.name, w.Code, w.Header(), c.status)
		}
		f.on(c.on, former)
	}

	f.Exports = newLimit(1)
	for i, want := range []int{200, 429} {
		if w := f.call("GET", "/api/users/me/export", "", user); w.Code != want {
			t.Errorf("export %d of 1: %d, want %d", i+1, w.Code, want)
		}
	}
}
