package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

func TestSignInAndSignOut(t *testing.T) {
	users := newStandIn(t, nil)
	g := gateway{users: users.URL}.start(t)
	me := func(token string) int {
		t.Helper()
		return servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", "Authorization: Bearer "+token).Status
	}

	granted := signIn(t, g.HTTP)
	if granted.TokenType != "Bearer" || granted.ExpiresIn != 900 || granted.RefreshToken != "next" || granted.RefreshExpiresIn != 60 {
		t.Errorf("granted %+v", granted)
	}
	if status := me(granted.AccessToken); status != http.StatusOK {
		t.Errorf("signed in: %d", status)
	}
	refreshed := servicetest.Call(t, "POST", g.HTTP+"/api/auth/refresh", `{"refresh_token":"next"}`)
	if refreshed.Status != http.StatusOK || refreshed.Header.Get("Cache-Control") != "no-store" || me(servicetest.JSON[tokenResponse](t, refreshed).AccessToken) != http.StatusOK {
		t.Errorf("refreshed: %+v", refreshed)
	}
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/api/auth/token", `{"email":"a@example.com","password":"wrong horse"}`, 401},
		{"/api/auth/token", `{"email":"a@example.com"}`, 422},
		{"/api/auth/token", `{"email":"a@example.com","password":"` + strings.Repeat("x", 513) + `"}`, 422},
		{"/api/auth/token", `{"email":"a@example.com","password":"x","role":"admin"}`, 400},
		{"/api/auth/refresh", `{"refresh_token":"wrong"}`, 401},
		{"/api/auth/refresh", `{}`, 422},
		{"/api/auth/revoke", `{}`, 422},
	} {
		a := servicetest.Call(t, "POST", g.HTTP+c.path, c.body)
		if a.Status != c.status || a.Header.Get("Content-Type") != "application/problem+json" || c.status == 401 && a.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s %s: %+v", c.path, c.body, a)
		}
	}

	if a := servicetest.Call(t, "POST", g.HTTP+"/api/auth/revoke", `{"refresh_token":"next"}`); a.Status != http.StatusNoContent {
		t.Errorf("revoking: %+v", a)
	}
	backingtest.Eventually(t, 30*time.Second, func() error {
		if status := me(granted.AccessToken); status != http.StatusUnauthorized {
			return fmt.Errorf("the session has ended, but the token gets %d", status)
		}
		return nil
	})
	if logs := g.Logs(); strings.Contains(logs, granted.AccessToken) || strings.Contains(logs, "example.com") || strings.Contains(logs, "horse") || strings.Contains(logs, aUser) {
		t.Error("the log contains a token or personal data")
	}
}

// sign returns a token that is valid except for the changes.
func sign(t testing.TB, method jwt.SigningMethod, key any, header, changes map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": "https://platform.example/api-gateway", "aud": "https://platform.example/api",
		"sub": aUser, "sid": aSession, "role": "user",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}
	for name, value := range changes {
		claims[name] = value
	}
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"], token.Header["typ"] = "a", "at+jwt"
	for name, value := range header {
		token.Header[name] = value
	}
	raw, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestInvalidTokensAreRefused(t *testing.T) {
	var requests atomic.Int64
	users := newStandIn(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	g := gateway{users: users.URL}.start(t)
	good := func(changes map[string]any) string {
		return sign(t, jwt.SigningMethodHS256, []byte(secret), nil, changes)
	}
	if a := servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", "Authorization: bearer "+good(nil)); a.Status != http.StatusOK {
		t.Fatalf("a valid token: %+v", a)
	}
	requests.Store(0)
	forged := good(nil)
	forged = forged[:strings.LastIndex(forged, ".")+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, token := range map[string]string{
		"none":             "",
		"expired":          good(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}),
		"not yet valid":    good(map[string]any{"nbf": time.Now().Add(time.Minute).Unix()}),
		"another issuer":   good(map[string]any{"iss": "https://elsewhere.example"}),
		"another audience": good(map[string]any{"aud": "https://elsewhere.example"}),
		"a role unknown":   good(map[string]any{"role": "root"}),
		"forged":           forged,
		"alg none":         sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, nil),
		"HS384":            sign(t, jwt.SigningMethodHS384, []byte(secret), nil, nil),
		"an unknown kid":   sign(t, jwt.SigningMethodHS256, []byte(secret), map[string]any{"kid": "b"}, nil),
		"a kid as a path":  sign(t, jwt.SigningMethodHS256, []byte(secret), map[string]any{"kid": "../../dev/null"}, nil),
		"an embedded key":  sign(t, jwt.SigningMethodHS256, []byte("mine"), map[string]any{"jwk": map[string]string{"kty": "oct", "k": "bWluZQ"}}, nil),
		"huge":             good(map[string]any{"x": strings.Repeat("x", 4<<10)}),
		"many dots":        strings.Repeat(".", 2000),
		"two tokens":       good(nil) + "," + good(nil),
	} {
		t.Run(name, func(t *testing.T) {
			a := servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", "Authorization: Bearer "+token)
			if a.Status != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("got %+v", a)
			}
		})
	}
	if n := requests.Load(); n > 0 {
		t.Errorf("the service got %d requests", n)
	}
}

func TestAccessToRoutes(t *testing.T) {
	response := func(w http.ResponseWriter, r *http.Request) {
		resources, _, _ := strings.Cut(r.URL.Path[1:], "/")
		caller := servicetest.CallerOf(t, r, strings.TrimSuffix(resources, "s")+"-service")
		_ = json.NewEncoder(w).Encode(map[string]string{"user": caller.UserID, "role": string(caller.Role), "path": r.URL.Path})
	}
	all := newStandIn(t, response)
	g := gateway{users: all.URL, orders: all.URL, notifications: all.URL}.start(t)
	user := signIn(t, g.HTTP).AccessToken
	all.set(func() { all.role = "admin" })
	admin := signIn(t, g.HTTP).AccessToken
	const other = "0190f3a0-0000-7000-8000-000000000009"
	for _, c := range []struct {
		method, path, token string
		status              int
		sent                string // path, or "" if the service gets no request
	}{
		{"GET", "/api/users/me", user, 200, "/users/" + aUser},
		{"GET", "/api/users/" + aUser, user, 200, "/users/" + aUser},
		{"GET", "/api/users/" + other, user, 403, ""},
		{"PATCH", "/api/users/" + other, user, 403, ""},
		{"DELETE", "/api/users/" + other, user, 403, ""},
		{"GET", "/api/users/" + other, admin, 200, "/users/" + other},
		{"GET", "/api/users/" + strings.ToUpper(other), admin, 404, ""},
		{"GET", "/api/users", user, 403, ""},
		{"GET", "/api/users", admin, 200, "/users"},
		{"GET", "/api/users", "", 401, ""},
		{"POST", "/api/users", "", 200, "/users"},
		{"POST", "/api/users/credentials/verify", admin, 404, ""},
		{"PUT", "/api/users/me", user, 405, ""},
		{"POST", "/api/orders", user, 200, "/orders"},
		{"POST", "/api/orders", "", 401, ""},
		{"GET", "/api/orders/" + other, user, 200, "/orders/" + other}, // whose it is the service knows
		{"GET", "/api/orders/x", user, 404, ""},
		{"POST", "/api/orders/" + other + "/cancel", user, 200, "/orders/" + other + "/cancel"},
		{"POST", "/api/orders/" + other + "/pay", user, 403, ""},
		{"POST", "/api/orders/" + other + "/pay", admin, 200, "/orders/" + other + "/pay"},
		{"POST", "/api/orders/" + other + "/refund", admin, 404, ""},
		{"GET", "/api/notifications", user, 200, "/notifications"},
		{"POST", "/api/notifications/read", user, 200, "/notifications/read"},
		{"POST", "/api/notifications/" + other + "/read", user, 200, "/notifications/" + other + "/read"},
	} {
		headers := []string{"X-User-Id: " + other, "X-User-Role: admin"}
		who := "nobody"
		if c.token != "" {
			headers = append(headers, "Authorization: Bearer "+c.token)
			who = "user"
		}
		if c.token == admin {
			who = "admin"
		}
		t.Run(who+" "+c.method+" "+c.path, func(t *testing.T) {
			a := servicetest.Call(t, c.method, g.HTTP+c.path, "", headers...)
			if a.Status != c.status {
				t.Fatalf("got %d, want %d: %s", a.Status, c.status, a.Body)
			}
			if c.sent == "" {
				return
			}
			sent := servicetest.JSON[map[string]string](t, a)
			want := map[string]string{"user": aUser, "role": who, "path": c.sent}
			if c.token == "" {
				want["user"], want["role"] = "", ""
			}
			if fmt.Sprint(sent) != fmt.Sprint(want) {
				t.Errorf("the service gets the caller %v, want %v", sent, want)
			}
		})
	}
}

func TestFailedSignInsAreLimited(t *testing.T) {
	users := newStandIn(t, nil)
	redis := backingtest.StartRedis(t)
	g := gateway{users: users.URL, redis: redis}.start(t)
	try := func(email, password string) servicetest.Response {
		t.Helper()
		return servicetest.Call(t, "POST", g.HTTP+"/api/auth/token", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password))
	}

	// A client with the password may sign in any number of times.
	for range 2 * failuresPerAccount {
		if a := try("a@example.com", "correct horse"); a.Status != http.StatusOK {
			t.Fatalf("got %+v", a)
		}
	}
	// Concurrent guesses count like consecutive ones.
	var refused, limited atomic.Int64
	var guessing sync.WaitGroup
	for i := range 5 * failuresPerAccount {
		email := "b@example.com"
		if i%2 == 0 {
			email = "B@Example.com"
		}
		guessing.Go(func() {
			switch a := try(email, fmt.Sprintf("wrong %d", i)); a.Status {
			case http.StatusUnauthorized:
				refused.Add(1)
			case http.StatusTooManyRequests:
				limited.Add(1)
				if a.Header.Get("Retry-After") == "" {
					t.Error("the response has no Retry-After")
				}
			default:
				t.Errorf("got %+v", a)
			}
		})
	}
	guessing.Wait()
	if refused.Load() != failuresPerAccount || limited.Load() != 4*failuresPerAccount {
		t.Errorf("%d guesses, %d refused to be taken: want %d guesses", refused.Load(), limited.Load(), failuresPerAccount)
	}
	if a := try("b@example.com", "correct horse"); a.Status != http.StatusTooManyRequests {
		t.Errorf("the right password after too many guesses: %d", a.Status)
	}
	if a := try("a@example.com", "correct horse"); a.Status != http.StatusOK {
		t.Errorf("another account: %d", a.Status)
	}

	// A second replica applies it, too, through keys without personal data.
	second := gateway{users: users.URL, redis: redis}.start(t)
	client := redis.Client()
	defer func() { _ = client.Close() }()
	backingtest.Eventually(t, 30*time.Second, func() error {
		a := servicetest.Call(t, "POST", second.HTTP+"/api/auth/token", `{"email":"b@example.com","password":"wrong again"}`)
		if a.Status != http.StatusTooManyRequests {
			return fmt.Errorf("the second replica responds with %d", a.Status)
		}
		return nil
	})
	if keys := client.Keys(t.Context(), "*").Val(); len(keys) == 0 || strings.Contains(strings.Join(keys, " "), "example") {
		t.Errorf("keys %v", keys)
	}
}

func TestRequestsAreLimitedPerClient(t *testing.T) {
	users := newStandIn(t, nil)
	redis := backingtest.StartRedis(t)
	g := gateway{users: users.URL, redis: redis, env: map[string]string{
		"REQUESTS_PER_MINUTE": "20", "TRUSTED_PROXIES": "127.0.0.0/8",
	}}.start(t)
	token := "Authorization: Bearer " + sign(t, jwt.SigningMethodHS256, []byte(secret), nil, nil)
	another := "Authorization: Bearer " + sign(t, jwt.SigningMethodHS256, []byte(secret), nil, map[string]any{"sub": aSession})
	many := func(headers ...string) (ok int) {
		t.Helper()
		for range 60 {
			if a := servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", headers...); a.Status != http.StatusTooManyRequests {
				ok++
			} else if wait := a.Header.Get("Retry-After"); wait == "" || a.Header.Get("RateLimit-Policy") != `"requests";q=20;w=60` ||
				a.Header.Get("RateLimit") != `"requests";r=0;t=`+wait || !strings.Contains(a.Body, `"code":"too_many_requests"`) {
				t.Fatalf("got %+v", a)
			}
		}
		return ok
	}
	// A window may end while the test runs, so that up to twice as many pass.
	bounded := func(what string, n int) {
		t.Helper()
		if n < 20 || n > 40 {
			t.Errorf("%s: %d passed, want 20", what, n)
		}
	}
	bounded("a user, from many addresses", many(token, "X-Forwarded-For: 192.0.2.1"))
	if a := servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", another, "X-Forwarded-For: 192.0.2.1"); a.Status != http.StatusOK {
		t.Errorf("another user at the same address: %d", a.Status)
	}
	bounded("bad tokens from one address", many("Authorization: Bearer x", "X-Forwarded-For: 192.0.2.2"))
	bounded("an address among the proxies'", many("Authorization: Bearer x", "X-Forwarded-For: 127.0.0.9"))
	if a := servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", "Authorization: Bearer x", "X-Forwarded-For: 127.0.0.10"); a.Status != http.StatusUnauthorized {
		t.Errorf("another one among them: %d", a.Status)
	}

	backingtest.Eventually(t, 10*time.Second, func() error {
		for _, client := range []string{"192.0.2.1", "192.0.2.2"} { // limited as a user, and without one
			if !strings.Contains(g.Logs(), `"status":429`) || !strings.Contains(g.Logs(), `"client":"`+client+`"`) {
				return fmt.Errorf("the log doesn't contain the refused client %s", client)
			}
		}
		return nil
	})
	if metrics := servicetest.Call(t, "GET", g.Ops+"/metrics", "").Body; !strings.Contains(metrics, `gateway_rate_limited_total{limit="requests"} `) ||
		strings.Contains(metrics, `gateway_rate_limited_total{limit="requests"} 0`) {
		t.Error("/metrics doesn't report the refusals of the limit")
	}

	ready := func(cache string) {
		t.Helper()
		backingtest.Eventually(t, 30*time.Second, func() error {
			if a := servicetest.Call(t, "GET", g.Ops+"/readyz", ""); a.Status != http.StatusOK || !strings.Contains(a.Body, cache) {
				return fmt.Errorf("/readyz: %+v, want %s", a, cache)
			}
			return nil
		})
	}
	ready(`"redis":"ok"`)
	redis.Stop()
	bounded("without Redis", many("Authorization: Bearer x", "X-Forwarded-For: 192.0.2.3"))
	ready(`"redis":"unwell"`)
}

// Behind a CDN each client has its own limit, an IPv6 client for its whole network.
func TestRequestsAreLimitedPerClientBehindTrustedProxies(t *testing.T) {
	users := newStandIn(t, nil)
	env := map[string]string{"REQUESTS_PER_MINUTE": "5", "EDGE_NETWORKS": "127.0.0.0/8", "TRUSTED_PROXIES": "203.0.113.0/24"}
	status := func(g *servicetest.Running, forwarded string) int {
		t.Helper()
		return servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", "X-Forwarded-For: "+forwarded).Status
	}
	const many = 12 // twice as many as a minute allows, and more: a window may end while the test runs
	for _, c := range []struct{ name, first, another string }{
		{"two clients of one proxy", "198.51.100.7, 203.0.113.5", "198.51.100.8, 203.0.113.5"},
		{"with ports", "198.51.100.7:%d, 203.0.113.5:%[1]d", "198.51.100.8:4711, 203.0.113.5"},
		{"addresses of one network", "2001:db8:1:1::%d, 203.0.113.5", "2001:db8:1:2::1, 203.0.113.5"},
		{"forged addresses", "192.0.2.%d, 198.51.100.7, 203.0.113.5", "192.0.2.1, 198.51.100.8, 203.0.113.5"},
		{"forged private addresses", "192.0.2.%d, 10.0.0.7, 203.0.113.5", "192.0.2.1, 10.0.0.8, 203.0.113.5"},
	} {
		for kind, variables := range map[string]map[string]string{
			"a minute": {}, "a second": {"REQUESTS_PER_MINUTE": "1000", "REQUESTS_PER_SECOND": "1"},
		} {
			g := gateway{users: users.URL, env: servicetest.Env(env, variables)}.start(t)
			refused := 0
			for i := range many {
				forwarded := c.first
				if strings.Contains(forwarded, "%") {
					forwarded = fmt.Sprintf(forwarded, i+1)
				}
				if status(g, forwarded) == http.StatusTooManyRequests {
					refused++
				}
			}
			if refused == 0 {
				t.Errorf("%s: no client is limited within %s", c.name, kind)
			}
			if got := status(g, c.another); got != http.StatusUnauthorized {
				t.Errorf("%s: the other client gets %d within %s", c.name, got, kind)
			}
		}
	}
}

func TestCORS(t *testing.T) {
	users := newStandIn(t, nil)
	preflight := []string{"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,idempotency-key,if-match,if-none-match"}
	open := gateway{users: users.URL, env: map[string]string{"CORS_ORIGINS": "https://shop.example, http://localhost:5173"}}.start(t)
	for origin, allowed := range map[string]string{
		"https://shop.example": "https://shop.example", "http://localhost:5173": "http://localhost:5173",
		"https://evil.example": "", "https://shop.example.evil.example": "", "null": "",
	} {
		a := servicetest.Call(t, "OPTIONS", open.HTTP+"/api/orders", "", append(preflight, "Origin: "+origin)...)
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != allowed || a.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s may: %q, want %q", origin, got, allowed)
		}
		read := servicetest.Call(t, "GET", open.HTTP+"/api/orders", "", "Origin: "+origin)
		if exposed := read.Header.Get("Access-Control-Expose-Headers"); strings.Contains(strings.ToLower(exposed), "etag") != (allowed != "") {
			t.Errorf("%s may read %q", origin, exposed)
		}
	}
	limited := gateway{users: users.URL, env: map[string]string{"CORS_ORIGINS": "https://shop.example", "REQUESTS_PER_MINUTE": "1"}}.start(t)
	servicetest.Call(t, "GET", limited.HTTP+"/api/users/me", "")
	for status, body := range map[int]string{
		http.StatusTooManyRequests: `{}`, http.StatusRequestEntityTooLarge: strings.Repeat("x", 70_000),
	} {
		a := servicetest.Call(t, "POST", limited.HTTP+"/api/auth/token", body, "Origin: https://shop.example")
		if a.Status != status || a.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" || a.Header.Get("X-Content-Type-Options") == "" {
			t.Errorf("want %d that the page may read, got %d %v", status, a.Status, a.Header)
		}
	}
	closed := gateway{users: users.URL}.start(t)
	if a := servicetest.Call(t, "OPTIONS", closed.HTTP+"/api/orders", "", append(preflight, "Origin: https://shop.example")...); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("by default a page may: %v", a.Header)
	}
}

func TestInvalidConfigurationReportsEveryFault(t *testing.T) {
	env := gateway{env: map[string]string{
		"JWT_KEYS": "a:c2hvcnQ", "ORDER_SERVICE_URL": "orders", "REQUESTS_PER_MINUTE": "0", "TRUSTED_PROXIES": "10.0.0.1", "CORS_ORIGINS": "*",
	}}.settings(t)
	delete(env, "USER_SERVICE_URL")
	_, err := servicetest.Run(commands(), env)
	if err == nil {
		t.Fatal("it starts")
	}
	for _, variable := range []string{"JWT_KEYS", "USER_SERVICE_URL", "ORDER_SERVICE_URL", "REQUESTS_PER_MINUTE", "TRUSTED_PROXIES", "CORS_ORIGINS"} {
		if !strings.Contains(err.Error(), variable) {
			t.Errorf("%s isn't named: %v", variable, err)
		}
	}
	if strings.Contains(err.Error(), "c2hvcnQ") {
		t.Error("the secret is shown")
	}
}
