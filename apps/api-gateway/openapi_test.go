package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/golang-jwt/jwt/v5"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"platform.example/apps/api-gateway/internal/api"
	"platform.example/apps/api-gateway/internal/docs"
	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/servicetest"
)

// described is the document that a gateway serves, and the documented responses that were received.
type described struct {
	t          *testing.T
	raw        string
	document   map[string]any
	operations []operation // in the order of their names
	compiler   *jsonschema.Compiler

	mu   sync.Mutex
	seen map[string]bool // "GET /api/users 200"
}

// operation is an operation in the document.
type operation struct {
	method, path string

	ID          string `json:"operationId"`
	Tags        []string
	Description string
	Service     string           `json:"x-service"` // the service that responds
	Security    []map[string]any // nil if it isn't stated, empty if no token is needed
	RequestBody any
	Responses   map[string]any // by status
}

func (o operation) String() string { return o.method + " " + o.path }

// forwarded reports whether a service behind the gateway handles the operation.
func (o operation) forwarded() bool { return o.Service != name }

func describedBy(t *testing.T, gateway string) *described {
	t.Helper()
	raw := servicetest.Call(t, "GET", gateway+"/openapi.json", "").Body
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("openapi.json", document); err != nil {
		t.Fatal(err)
	}
	d := &described{t: t, raw: raw, document: document.(map[string]any), compiler: compiler, seen: map[string]bool{}}
	var typed struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal([]byte(raw), &typed); err != nil {
		t.Fatal(err)
	}
	for path, methods := range typed.Paths {
		for method, o := range methods {
			o.method, o.path = strings.ToUpper(method), path
			d.operations = append(d.operations, o)
		}
	}
	slices.SortFunc(d.operations, func(a, b operation) int { return strings.Compare(a.String(), b.String()) })
	return d
}

// at returns the value at a path of keys in the document. It follows references.
func (d *described) at(keys ...string) (any, string) {
	current, pointer := any(d.document), "#"
	for i, key := range keys {
		object, ok := current.(map[string]any)
		if reference, refers := object["$ref"].(string); refers {
			return d.at(append(strings.Split(strings.TrimPrefix(reference, "#/"), "/"), keys[i:]...)...)
		}
		if !ok || object[key] == nil {
			return nil, ""
		}
		current = object[key]
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
	}
	return current, pointer
}

func (d *described) validate(pointer string, value any) error {
	d.mu.Lock() // the compiler is for one at a time
	defer d.mu.Unlock()
	schema, err := d.compiler.Compile("openapi.json" + pointer)
	if err != nil {
		return fmt.Errorf("the schema at %s: %w", pointer, err)
	}
	return schema.Validate(value)
}

// of returns the value at a path of keys in the description of an operation.
func (d *described) of(o operation, keys ...string) (any, string) {
	return d.at(append([]string{"paths", o.path, strings.ToLower(o.method)}, keys...)...)
}

// check compares a response with its description.
func (d *described) check(t *testing.T, o operation, a servicetest.Response) {
	t.Helper()
	status := strconv.Itoa(a.Status)
	if o.Responses[status] == nil {
		t.Errorf("%s responds with %s, which isn't documented: %s", o, status, a.Body)
		return
	}
	d.mu.Lock()
	d.seen[o.String()+" "+status] = true
	d.mu.Unlock()

	for _, timing := range a.Header.Values("Server-Timing") {
		if service, _, _ := strings.Cut(timing, ";"); service != name && service != o.Service {
			t.Errorf("%s %s is handled by %s, but its x-service is %q", o, status, service, o.Service)
		}
	}
	found, _ := d.of(o, "responses", status, "headers")
	headers, _ := found.(map[string]any)
	for name := range headers {
		value := a.Header.Get(name)
		if value == "" && name == "Idempotency-Replayed" {
			continue
		}
		if err := d.validate("#/components/headers/"+name+"/schema", value); err != nil {
			t.Errorf("%s %s: header %s is %q: %v", o, status, name, value, err)
		}
	}
	found, _ = d.of(o, "responses", status, "content")
	content, _ := found.(map[string]any)
	if content == nil {
		if a.Body != "" {
			t.Errorf("%s %s has a body", o, status)
		}
		return
	}
	mediaType, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || content[mediaType] == nil {
		t.Errorf("%s %s is of type %q", o, status, a.Header.Get("Content-Type"))
		return
	}
	if mediaType == "text/html" {
		return
	}
	body, err := jsonschema.UnmarshalJSON(strings.NewReader(a.Body))
	if err != nil {
		t.Errorf("%s %s: %v", o, status, err)
		return
	}
	_, pointer := d.of(o, "responses", status, "content", mediaType, "schema")
	if err := d.validate(pointer, body); err != nil {
		t.Errorf("%s %s: %v\n%s", o, status, err, a.Body)
	}
}

// whole is the gateway in front of all services, built as in their images.
type whole struct {
	url                       string
	user, admin               string // tokens
	userID, otherID, adminID  string
	refreshToken              string
	pending, foreign, mistake string // orders
	notification              string
	confirm, taken, reset     string // tokens of links
	provider                  *identityProvider
}

func startWhole(t *testing.T) *whole {
	t.Helper()
	stream := backingtest.StartStream(t)
	cache := backingtest.StartRedis(t)
	start := func(service string, uses ...*backingtest.Redis) string {
		env := servicetest.Env(backingtest.StartPostgres(t).Env())
		for _, store := range uses {
			maps.Copy(env, store.Env(service))
		}
		b := servicetest.Build(t, "platform.example/apps/"+service, env)
		b.Run("migrate")
		return b.Start().HTTP
	}
	users, orders, notifications := start("user-service", cache, stream), start("order-service", stream), start("notification-service", stream)
	provider := newIdentityProvider(t)
	keys := map[string]string{"JWT_KEYS": edKeys}
	g := gateway{users: users, orders: orders, notifications: notifications, redis: cache, env: unlimited(servicetest.Env(provider.env(), keys))}.start(t)
	w := &whole{url: g.HTTP, provider: provider}

	signUp := func(email, role string) (id string, granted tokenResponse) {
		t.Helper()
		made := servicetest.Call(t, "POST", users+"/users", fmt.Sprintf(`{"email":%q,"name":"A","password":"correct horse","role":%q}`, email, role), "X-User-Role: admin")
		if made.Status != http.StatusCreated {
			t.Fatalf("signing up: %+v", made)
		}
		response := servicetest.Call(t, "POST", w.url+"/api/auth/token", fmt.Sprintf(`{"email":%q,"password":"correct horse"}`, email))
		return servicetest.JSON[struct{ ID string }](t, made).ID, servicetest.JSON[tokenResponse](t, response)
	}
	var granted tokenResponse
	w.userID, granted = signUp("user@example.com", "user")
	w.user, w.refreshToken = granted.AccessToken, granted.RefreshToken
	w.otherID, _ = signUp("other@example.com", "user")
	w.adminID, granted = signUp("admin@example.com", "admin")
	w.admin = granted.AccessToken

	w.links(t, stream, users)
	order := func(token, key string) string {
		t.Helper()
		a := servicetest.Call(t, "POST", w.url+"/api/orders", anOrder, "Authorization: Bearer "+token, "Idempotency-Key: "+key)
		return servicetest.JSON[struct{ ID string }](t, a).ID
	}
	w.pending, w.mistake, w.foreign = order(w.user, "1"), order(w.user, "2"), order(w.admin, "1")
	backingtest.Eventually(t, time.Minute, func() error {
		inbox := servicetest.JSON[struct{ Notifications []struct{ ID string } }](t,
			servicetest.Call(t, "GET", w.url+"/api/notifications", "", "Authorization: Bearer "+w.user))
		if len(inbox.Notifications) < 2 {
			return fmt.Errorf("%d notifications, want 2", len(inbox.Notifications))
		}
		w.notification = inbox.Notifications[0].ID
		return nil
	})
	return w
}

// links requests links. Another user takes the email of one of them.
func (w *whole) links(t *testing.T, stream *backingtest.Redis, users string) {
	t.Helper()
	const wanted = "wanted@example.com"
	for _, a := range []servicetest.Response{
		servicetest.Call(t, "PATCH", w.url+"/api/users/me", `{"email":"`+wanted+`","current_password":"correct horse"}`, "Authorization: Bearer "+w.admin),
		servicetest.Call(t, "POST", users+"/users", `{"email":"`+wanted+`","name":"A","password":"correct horse"}`),
		servicetest.Call(t, "POST", w.url+"/api/auth/password-reset", `{"email":"`+wanted+`"}`),
	} {
		if a.Status >= http.StatusBadRequest {
			t.Fatalf("got %+v", a)
		}
	}
	client := stream.Client()
	defer func() { _ = client.Close() }()
	backingtest.Eventually(t, time.Minute, func() error {
		entries, err := client.XRange(t.Context(), string(event.Mails), "-", "+").Result()
		for _, entry := range entries {
			e, _ := event.Mails.Parse(entry.Values)
			u, _ := event.Data[event.User](e)
			switch {
			case e.Type == event.PasswordResetRequested:
				w.reset = u.Secret
			case e.Type == event.EmailToConfirm && u.Email == "user@example.com":
				w.confirm = u.Secret
			case e.Type == event.EmailToConfirm && u.Email == wanted && u.ID.String() == w.adminID:
				w.taken = u.Secret
			}
		}
		if w.reset == "" || w.confirm == "" || w.taken == "" {
			return fmt.Errorf("not all links are sent: %w", err)
		}
		return nil
	})
}

const proof = `{"current_password":"correct horse"}`

const anOrder = `{"currency":"EUR","items":[{"sku":"tea","quantity":2,"unit_price":450}]}`

// call sends a request of an operation, valid except for the arguments of the test.
func (w *whole) call(t *testing.T, o operation, token, id, body string, headers ...string) servicetest.Response {
	t.Helper()
	if token != "" {
		headers = append(headers, "Authorization: Bearer "+token)
	}
	path, query, _ := strings.Cut(id, "?")
	session, _, _ := strings.Cut(w.refreshToken, ".")
	path = strings.NewReplacer("{id}", path, "{session}", cmp.Or(session, aUser)).Replace(o.path)
	if query != "" {
		path += "?" + query
	}
	if o.String() == "POST /api/orders" && !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Idempotency-Key:") }) {
		headers = append(headers, "Idempotency-Key: fresh")
	}
	return servicetest.Call(t, o.method, w.url+path, body, headers...)
}

// The description must match the running services: every operation, every documented status, and no other.
func TestOpenAPIDescriptionIsCorrect(t *testing.T) {
	w := startWhole(t)
	d := describedBy(t, w.url)
	named := map[string]operation{}
	for _, o := range d.operations {
		named[o.String()] = o
	}

	t.Run("the verification of the gateway reaches all services", func(t *testing.T) {
		servicetest.Verifies(t, name, commands(), map[string]string{"JWT_KEYS": edKeys}, w.url)
	})
	t.Run("the list of sessions contains the client", func(t *testing.T) {
		listed := w.call(t, named["GET /api/users/{id}/sessions"], w.user, "me", "")
		if !strings.Contains(listed.Body, `"address":"127.0.0.1","user_agent":"Go-http-client/1.1"`) {
			t.Errorf("the sessions are %s", listed.Body)
		}
	})
	t.Run("it names every route and no other", func(t *testing.T) { d.namesEveryRoute(t, maps.Clone(named)) })
	t.Run("it has no duplicate keys", func(t *testing.T) { hasNoDuplicateKeys(t, json.NewDecoder(strings.NewReader(d.raw)), "") })
	t.Run("it refers to all of its components, and to nothing else", d.refersToItsComponents)
	t.Run("its examples match the schemas", d.examplesAreValid)
	t.Run("each operation has security and tags", d.securityAndTagsAreStated)

	// The description itself defines the requests that many operations share.
	for _, o := range d.operations {
		malformed := w.call(t, o, w.admin, w.userID+"?a=%ZZ", "")
		if malformed.Status != http.StatusBadRequest {
			t.Errorf("%s: a malformed query gets %d", o, malformed.Status)
		}
		d.check(t, o, malformed)
		if !o.forwarded() {
			d.check(t, o, servicetest.Call(t, o.method, w.url+o.path, ""))
			continue
		}
		token, good := w.admin, w.userID
		anonymous := w.call(t, o, "", good, "")
		if (anonymous.Status == http.StatusUnauthorized) != (len(o.Security) > 0) {
			t.Errorf("%s: without a token the status is %d, security is %v", o, anonymous.Status, o.Security)
		}
		d.check(t, o, anonymous)
		if strings.Contains(o.path, "{id}") {
			d.check(t, o, w.call(t, o, token, "0198f3a0-0000-7000-8000-00000000dead", `{"name":"X"}`))
		}
		if o.RequestBody != nil {
			d.check(t, o, w.call(t, o, token, good, `{"unknown":1}`))
			d.check(t, o, w.call(t, o, token, good, `{"a":"`+strings.Repeat("a", 65<<10)+`"}`))
			d.check(t, o, w.call(t, o, token, good, `{}`, "Content-Type: text/plain"))
			d.check(t, o, w.call(t, o, token, good, `{}`, "Content-Encoding: gzip"))
			d.check(t, o, w.call(t, o, token, good, `{}`))
		}
	}
	for _, c := range w.cases() {
		o, ok := named[c.operation]
		if !ok {
			t.Fatalf("%s is missing", c.operation)
		}
		a := w.call(t, o, c.token, c.id, c.body, c.headers...)
		if a.Status != c.status {
			t.Errorf("%s %s %s: %d, want %d: %s", c.operation, c.id, c.body, a.Status, c.status, a.Body)
		}
		d.check(t, o, a)
	}

	o := named["POST /api/auth/oidc"]
	d.check(t, o, servicetest.Call(t, o.method, gateway{}.start(t).HTTP+o.path, `{}`)) // no provider

	// A gateway for each operation, so that no breaker is open.
	var troubles sync.WaitGroup // most of their time is a wait for a deadline
	for _, o := range d.operations {
		if o.forwarded() {
			troubles.Go(d.troubles(t, o))
		}
	}
	troubles.Go(d.stopping(t, named["GET /health"]))
	troubles.Wait()

	for _, o := range d.operations {
		for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
			if !d.seen[o.String()+" "+status] {
				t.Errorf("%s %s is documented but was never received", o, status)
			}
		}
	}
}

// example is a request with a specific status.
type example struct {
	operation       string
	token, id, body string // the id may contain a query
	status          int
	headers         []string
}

func (w *whole) cases() []example {
	return []example{
		{"POST /api/auth/token", "", "", `{"email":"user@example.com","password":"correct horse"}`, 200, nil},
		{"POST /api/auth/token", "", "", `{"email":"user@example.com","password":"wrong horse"}`, 401, nil},
		{"POST /api/auth/oidc", "", "", idToken(w.provider.token(nil), "n"), 200, nil},
		{"POST /api/auth/oidc", "", "", idToken(w.provider.token(map[string]any{"email": "known identities need none"}), "n"), 200, nil},
		{"POST /api/auth/oidc", "", "", idToken(w.provider.token(nil), "m"), 401, nil},
		{"POST /api/auth/oidc", "", "", idToken(w.provider.token(map[string]any{"sub": "2", "email_verified": false}), "n"), 403, nil},
		{"POST /api/auth/oidc", "", "", idToken(w.provider.token(map[string]any{"sub": "2", "email": "user@example.com"}), "n"), 409, nil},
		{"POST /api/auth/refresh", "", "", fmt.Sprintf(`{"refresh_token":%q}`, w.refreshToken), 200, nil},
		{"POST /api/auth/refresh", "", "", `{"refresh_token":"x"}`, 401, nil},
		{"POST /api/auth/revoke", "", "", `{"refresh_token":"x"}`, 204, nil},

		{"POST /api/auth/email", "", "", fmt.Sprintf(`{"token":%q}`, w.taken), 409, nil},
		{"POST /api/users/{id}/confirmation", w.user, "me", "", 202, nil},
		{"POST /api/auth/email", "", "", fmt.Sprintf(`{"token":%q}`, w.confirm), 204, nil},
		{"POST /api/auth/email", "", "", fmt.Sprintf(`{"token":%q}`, w.confirm), 422, nil},
		{"POST /api/users/{id}/confirmation", w.user, "me", "", 409, nil},
		{"POST /api/users/{id}/confirmation", w.user, w.otherID, "", 403, nil},
		{"GET /api/users/{id}/export", w.user, "me", "", 200, nil},
		{"GET /api/users/{id}/export", w.admin, w.userID, "", 403, nil},
		{"GET /api/users/{id}/export", w.user, w.otherID, "", 403, nil},
		{"GET /api/users/{id}/export", w.user, "x", "", 404, nil},
		{"POST /api/auth/password-reset", "", "", `{"email":"nobody@example.com"}`, 202, nil},
		{"POST /api/auth/password", "", "", fmt.Sprintf(`{"token":%q,"password":"a new horse"}`, w.reset), 204, nil},
		{"POST /api/auth/password", "", "", fmt.Sprintf(`{"token":%q,"password":"a new horse"}`, w.reset), 422, nil},

		{"POST /api/users", "", "", `{"email":"fresh@example.com","name":"N","password":"correct horse"}`, 201, nil},
		{"POST /api/users", "", "", `{"email":"FRESH@example.com","name":"N","password":"correct horse"}`, 409, nil},
		{"GET /api/users", w.admin, "?limit=2", "", 200, nil},
		{"GET /api/users", w.admin, "?limit=0", "", 400, nil},
		{"GET /api/users", w.user, "", "", 403, nil},
		{"GET /api/users/{id}", w.user, "me", "", 200, nil},
		{"GET /api/users/{id}", w.user, "me", "", 304, []string{`If-None-Match: "2"`}},
		{"GET /api/users/{id}", w.user, "me", "", 400, []string{`If-None-Match: 1`}},
		{"GET /api/users/{id}", w.user, w.otherID, "", 403, nil},
		{"GET /api/users/{id}", w.user, "x", "", 404, nil},
		{"PATCH /api/users/{id}", w.user, "me", `{"name":"Grace"}`, 200, []string{`If-Match: "2"`}},
		{"PATCH /api/users/{id}", w.user, "me", `{"name":"Ada"}`, 412, []string{`If-Match: "2"`}},
		{"PATCH /api/users/{id}", w.user, "me", `{"name":"Ada"}`, 400, []string{`If-Match: 1`}},
		{"PATCH /api/users/{id}", w.user, w.otherID, `{"name":"Grace"}`, 403, nil},
		{"PATCH /api/users/{id}", w.user, "me", `{"role":"admin"}`, 403, nil},
		{"PATCH /api/users/{id}", w.user, "me", `{"email":"other@example.com","current_password":"correct horse"}`, 409, nil},
		{"PATCH /api/users/{id}", w.user, "me", `{"password":"another horse","current_password":"wrong"}`, 403, nil},
		{"GET /api/audit", w.admin, "?limit=2&user=" + w.userID, "", 200, nil},
		{"GET /api/audit", w.admin, "?user=x", "", 400, nil},
		{"GET /api/audit", w.user, "", "", 403, nil},
		{"DELETE /api/users/{id}", w.user, w.otherID, proof, 403, nil},
		{"DELETE /api/users/{id}", w.user, "me", `{"current_password":"wrong"}`, 403, nil},
		{"DELETE /api/users/{id}", w.admin, w.otherID, proof, 412, []string{`If-Match: "7"`}},
		{"DELETE /api/users/{id}", w.admin, w.otherID, proof, 204, []string{`If-Match: *`}},
		{"DELETE /api/users/{id}", w.admin, w.otherID, proof, 404, nil},

		{"POST /api/orders", w.user, "", anOrder, 201, []string{"Idempotency-Key: a"}},
		{"POST /api/orders", w.user, "", anOrder, 201, []string{"Idempotency-Key: a"}}, // again
		{"POST /api/orders", w.user, "", strings.Replace(anOrder, "2", "3", 1), 422, []string{"Idempotency-Key: a"}},
		{"POST /api/orders", w.user, "", anOrder, 400, []string{"Idempotency-Key: with a space"}},
		{"GET /api/orders", w.user, "?limit=1", "", 200, nil},
		{"GET /api/orders", w.user, "?after=x", "", 400, nil},
		{"GET /api/orders", w.user, "?user_id=" + w.otherID, "", 403, nil},
		{"GET /api/orders/{id}", w.user, w.pending, "", 200, nil},
		{"GET /api/orders/{id}", w.user, w.pending, "", 304, []string{`If-None-Match: "1"`}},
		{"GET /api/orders/{id}", w.user, w.foreign, "", 404, nil},
		{"POST /api/orders/{id}/pay", w.user, w.pending, "", 403, nil},
		{"POST /api/orders/{id}/pay", w.admin, w.pending, "", 412, []string{`If-Match: "7"`}},
		{"POST /api/orders/{id}/pay", w.admin, w.pending, "", 200, nil},
		{"POST /api/orders/{id}/pay", w.admin, w.pending, "", 200, nil}, // again
		{"POST /api/orders/{id}/deliver", w.admin, w.pending, "", 409, nil},
		{"POST /api/orders/{id}/ship", w.user, w.pending, "", 403, nil},
		{"POST /api/orders/{id}/ship", w.admin, w.pending, "", 412, []string{`If-Match: "7"`}},
		{"POST /api/orders/{id}/ship", w.admin, w.pending, "", 200, nil},
		{"POST /api/orders/{id}/ship", w.admin, w.pending, "", 200, nil}, // again
		{"POST /api/orders/{id}/pay", w.admin, w.pending, "", 409, nil},
		{"POST /api/orders/{id}/deliver", w.user, w.pending, "", 403, nil},
		{"POST /api/orders/{id}/deliver", w.admin, w.pending, "", 412, []string{`If-Match: "7"`}},
		{"POST /api/orders/{id}/deliver", w.admin, w.pending, "", 200, nil},
		{"POST /api/orders/{id}/deliver", w.admin, w.pending, "", 200, nil}, // again
		{"POST /api/orders/{id}/ship", w.admin, w.pending, "", 409, nil},
		{"POST /api/orders/{id}/cancel", w.user, w.pending, "", 409, nil},
		{"POST /api/orders/{id}/cancel", w.user, w.mistake, "", 412, []string{`If-Match: "2"`}},
		{"POST /api/orders/{id}/cancel", w.user, w.mistake, "", 200, []string{`If-Match: "1"`}},

		{"GET /api/notifications", w.user, "?unread=true", "", 200, nil},
		{"GET /api/notifications", w.user, "?unread=maybe", "", 400, nil},
		{"POST /api/notifications/{id}/read", w.user, w.notification, "", 204, nil},
		{"POST /api/notifications/read", w.user, "", "", 204, nil},

		{"GET /api/users/{id}/sessions", w.user, "me", "", 200, nil},
		{"GET /api/users/{id}/sessions", w.user, w.otherID, "", 403, nil},
		{"GET /api/users/{id}/sessions", w.user, "x", "", 404, nil},
		{"DELETE /api/users/{id}/sessions", w.user, "x", "", 404, nil},
		{"DELETE /api/users/{id}/sessions/{session}", w.user, w.otherID, "", 403, nil},
		{"DELETE /api/users/{id}/sessions/{session}", w.admin, "", "", 404, nil},
		{"DELETE /api/users/{id}/sessions", w.user, w.otherID, "", 403, nil},
		{"DELETE /api/users/{id}/sessions/{session}", w.admin, w.userID, "", 204, nil},
		{"DELETE /api/users/{id}/sessions/{session}", w.admin, w.userID, "", 404, nil},
		{"DELETE /api/users/{id}/sessions", w.admin, w.userID, "", 204, nil},
	}
}

// troubles provokes the responses of an operation when its service fails, and when the client sends too many requests.
func (d *described) troubles(t *testing.T, o operation) func() {
	t.Helper()
	hang := make(chan struct{})
	var broken atomic.Bool
	service := newTroubled(t, func(w http.ResponseWriter, _ *http.Request) {
		if !broken.Load() {
			<-hang
			return
		}
		if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = io.WriteString(connection, "?\r\n\r\n")
			_ = connection.Close()
		}
	})
	provider := newIdentityProvider(t)
	env := servicetest.Env(provider.env(), map[string]string{"REQUESTS_PER_MINUTE": "4"})
	g := gateway{users: service.URL, orders: service.URL, notifications: service.URL, env: env}.start(t)
	token := sign(t, jwt.SigningMethodHS256, []byte(secret), nil, map[string]any{"role": "admin"})
	w := &whole{url: g.HTTP}
	body := ""
	if o.RequestBody != nil {
		raw, pointer := d.of(o, "requestBody", "content", "application/json", "schema", "examples")
		if pointer == "" {
			t.Fatalf("the body of %s has no example", o)
		}
		encoded, err := json.Marshal(raw.([]any)[0])
		if err != nil {
			t.Fatal(err)
		}
		body = string(encoded)
		if o.path == "/api/auth/oidc" {
			body = idToken(provider.token(nil), "n")
		}
	}
	call := func(status int) {
		t.Helper()
		a := w.call(t, o, token, aUser, body)
		if a.Status != status {
			t.Errorf("%s: %d, want %d: %s", o, a.Status, status, a.Body)
		}
		d.check(t, o, a)
	}
	return func() {
		call(http.StatusGatewayTimeout)
		close(hang)
		broken.Store(true)
		call(http.StatusBadGateway)
		service.CloseClientConnections()
		service.Close()
		call(http.StatusServiceUnavailable)
		for range 4 { // however much of the window before still counts
			if a := w.call(t, o, token, aUser, body); a.Status == http.StatusTooManyRequests {
				d.check(t, o, a)
				return
			}
		}
		t.Errorf("%s: no limit refuses the requests", o)
	}
}

// newTroubled returns a service that fails every request except the gateway's own polls.
func newTroubled(t *testing.T, trouble http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/health", "/sessions/revoked":
			_, _ = io.WriteString(w, `{"revoked":[]}`)
		default:
			trouble(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// stopping checks the responses of a gateway while it stops.
func (d *described) stopping(t *testing.T, o operation) func() {
	t.Helper()
	g := gateway{env: map[string]string{"SHUTDOWN_DELAY": "3s"}}.start(t)
	return func() {
		ended := make(chan error)
		go func() { ended <- g.Stop() }()
		for {
			select {
			case err := <-ended:
				t.Errorf("it has stopped without reporting it: %v", err)
				return
			case <-time.After(20 * time.Millisecond):
			}
			if a := servicetest.Call(t, o.method, g.HTTP+o.path, ""); a.Status == http.StatusServiceUnavailable {
				d.check(t, o, a)
				break
			}
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func (d *described) namesEveryRoute(t *testing.T, named map[string]operation) {
	for _, route := range registered(t) {
		if _, ok := named[route]; !ok {
			t.Errorf("%s isn't documented", route)
		}
		delete(named, route)
	}
	for name := range named {
		t.Errorf("%s is documented and isn't there", name)
	}
}

// hasNoDuplicateKeys fails the test for a duplicate key of an object: a parser keeps only one of them.
func hasNoDuplicateKeys(t *testing.T, decoder *json.Decoder, at string) {
	t.Helper()
	token, err := decoder.Token()
	if err != nil {
		t.Fatal(err)
	}
	start, nested := token.(json.Delim)
	if !nested {
		return
	}
	seen := map[json.Token]bool{}
	for decoder.More() {
		inner := at
		if start == '{' {
			key, _ := decoder.Token()
			inner += "/" + fmt.Sprint(key)
			if seen[key] {
				t.Errorf("%s is there twice", inner)
			}
			seen[key] = true
		}
		hasNoDuplicateKeys(t, decoder, inner)
	}
	_, _ = decoder.Token() // its end
}

func (d *described) refersToItsComponents(t *testing.T) {
	used := map[string]bool{}
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, inner := range value {
				walk(inner)
			}
		case map[string]any:
			if reference, ok := value["$ref"].(string); ok {
				keys := strings.Split(reference, "/")
				if target, _ := d.at(keys[1:]...); target == nil {
					t.Errorf("%s leads nowhere", reference)
				}
				used[strings.Join(keys[:min(len(keys), 4)], "/")] = true
			}
			for _, inner := range value {
				walk(inner)
			}
		}
	}
	walk(d.document)
	for _, kind := range []string{"parameters", "responses", "headers", "schemas"} {
		components, _ := d.at("components", kind)
		for name := range components.(map[string]any) {
			if !used["#/components/"+kind+"/"+name] {
				t.Errorf("nothing refers to the component %s/%s", kind, name)
			}
		}
	}
}

// registered returns the routes of the gateway.
func registered(t *testing.T) []string {
	t.Helper()
	router := chi.NewRouter()
	(&api.API{}).Register(router, &problem.Mapper{Log: slog.New(slog.DiscardHandler)})
	docs.Routes(router)
	routes := []string{"GET /health"} // which every service has
	err := chi.Walk(router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if !strings.HasPrefix(route, "/docs/") { // which the page loads
			routes = append(routes, method+" "+route)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return routes
}

func (d *described) securityAndTagsAreStated(t *testing.T) {
	defined := map[any]bool{}
	tags, _ := d.at("tags")
	list, _ := tags.([]any)
	for _, tag := range list {
		tag := tag.(map[string]any)
		defined[tag["name"]] = tag["description"] != ""
	}
	ids := map[string]bool{}
	for _, o := range d.operations {
		open := strings.Contains(o.Description, "Access: anyone, without a token.")
		if o.Security == nil || (len(o.Security) == 0) != open || len(o.Tags) != 1 || !defined[o.Tags[0]] {
			t.Errorf("%s: security is %v, anyone may: %t, tags are %v", o, o.Security, open, o.Tags)
		}
		if !slices.Contains([]string{name, "user-service", "order-service", "notification-service"}, o.Service) {
			t.Errorf("%s: unknown service %q", o, o.Service)
		}
		if o.ID == "" || ids[o.ID] {
			t.Errorf("%s: the operationId %q isn't its own", o, o.ID)
		}
		ids[o.ID] = true
	}
}

func hashOf(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (d *described) examplesAreValid(t *testing.T) {
	schemas, _ := d.at("components", "schemas")
	for name, schema := range schemas.(map[string]any) {
		examples, _ := schema.(map[string]any)["examples"].([]any)
		if len(examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, value := range examples {
			if err := d.validate("#/components/schemas/"+name, value); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// The page loads files only from this origin, and its policy allows only its own scripts and styles.
func TestDocumentationPage(t *testing.T) {
	g := gateway{}.start(t)
	a := servicetest.Call(t, "GET", g.HTTP+"/docs", "")
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") || !strings.Contains(a.Body, `"/openapi.json"`) {
		t.Fatalf("got %+v", a)
	}
	if title, _ := describedBy(t, g.HTTP).at("info", "title"); !strings.Contains(a.Body, fmt.Sprintf("<title>%s", title)) {
		t.Errorf("its title isn't %q, as that of the document", title)
	}
	policy := a.Header.Get("Content-Security-Policy")
	var own []string
	for _, element := range regexp.MustCompile(`(?s)<(?:script|style)>(.*?)</(?:script|style)>`).FindAllStringSubmatch(a.Body, -1) {
		own = append(own, "'"+hashOf(element[1])+"'")
		if !strings.Contains(policy, own[len(own)-1]) {
			t.Errorf("the policy refuses %s", element[0])
		}
	}
	if len(own) == 0 || strings.Count(policy, "'sha256-") != len(own) || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") ||
		!strings.Contains(policy, "default-src 'none'; script-src 'self' 'sha256-") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("the policy is %q", policy)
	}
	loaded := regexp.MustCompile(`(?:src|href)="?([^" >]*)`).FindAllStringSubmatch(a.Body, -1)
	if len(loaded) < 3 {
		t.Errorf("the page loads %v", loaded)
	}
	for _, asset := range loaded {
		if !strings.HasPrefix(asset[1], "/docs/") {
			t.Errorf("it loads %s", asset[1])
			continue
		}
		got := servicetest.Call(t, "GET", g.HTTP+asset[1], "", "Accept-Encoding: gzip")
		if got.Status != http.StatusOK || got.Body == "" || got.Header.Get("Cache-Control") != "no-cache" ||
			(got.Header.Get("Content-Encoding") != "gzip" && !strings.HasSuffix(asset[1], ".png")) {
			t.Errorf("%s gets %d with %v", asset[1], got.Status, got.Header)
		}
		again := servicetest.Call(t, "GET", g.HTTP+asset[1], "", "Accept-Encoding: gzip", "If-None-Match: "+got.Header.Get("ETag"))
		if again.Status != http.StatusNotModified {
			t.Errorf("%s gets %d again", asset[1], again.Status)
		}
	}
	if a := servicetest.Call(t, "GET", g.HTTP+"/docs/nothing", ""); a.Status != http.StatusNotFound || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("an unknown file gets %+v", a)
	}
}
