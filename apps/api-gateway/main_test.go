package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

var jwtKeys = "a:" + base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

func gatewayFor(t *testing.T, usersAt string) *servicetest.Running {
	t.Helper()
	return servicetest.Start(t, name, commands(), servicetest.Env(map[string]string{
		"JWT_KEYS": jwtKeys, "USER_SERVICE_URL": usersAt,
	}))
}

// userService runs the real user-service, built as its image holds it, on a
// real Postgres and Redis.
func userService(t *testing.T) string {
	t.Helper()
	service := servicetest.Build(t, "platform.example/apps/user-service",
		servicetest.Env(backingtest.StartPostgres(t).Env(), backingtest.StartRedis(t).Env()))
	service.Run("migrate")
	return service.Start().HTTP
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
}

type userAnswer struct{ ID, Email, Role string }

func TestFromSignUpToSignIn(t *testing.T) {
	users := userService(t)
	g := gatewayFor(t, users)
	call := func(method, path, token, body string) servicetest.Answer {
		t.Helper()
		return servicetest.Call(t, method, g.HTTP+path, body, "Authorization: Bearer "+token, "X-User-Role: admin")
	}
	signUp := func(email string) userAnswer {
		t.Helper()
		answer := servicetest.Call(t, "POST", g.HTTP+"/api/users", fmt.Sprintf(`{"email":%q,"name":"A","password":"correct horse"}`, email))
		u := servicetest.JSON[userAnswer](t, answer)
		if answer.Status != http.StatusCreated || answer.Header.Get("Location") != "/api/users/"+u.ID {
			t.Fatalf("signing up: %+v", answer)
		}
		return u
	}
	signIn := func(email, password string) servicetest.Answer {
		t.Helper()
		return servicetest.Call(t, "POST", g.HTTP+"/api/auth/token", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password))
	}

	ada, bob := signUp("ada@example.com"), signUp("bob@example.com")
	root := servicetest.Call(t, "POST", users+"/users", `{"email":"root@example.com","name":"R","password":"correct horse","role":"admin"}`, "X-User-Role: admin")
	if root.Status != http.StatusCreated {
		t.Fatalf("creating an admin: %+v", root)
	}
	answer := signIn("ADA@example.com", "correct horse")
	granted := servicetest.JSON[tokenAnswer](t, answer)
	if answer.Status != http.StatusOK || granted.TokenType != "Bearer" || granted.ExpiresIn != 900 || answer.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("signing in: %+v", answer)
	}
	user := granted.AccessToken
	admin := servicetest.JSON[tokenAnswer](t, signIn("root@example.com", "correct horse")).AccessToken

	t.Run("who can't sign in", func(t *testing.T) {
		wrong, unknown := signIn("ada@example.com", "wrong horse"), signIn("eve@example.com", "wrong horse")
		for _, a := range []servicetest.Answer{wrong, unknown} {
			if a.Status != http.StatusUnauthorized || a.Header.Get("Content-Type") != "application/problem+json" || a.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("got %+v", a)
			}
		}
	})

	t.Run("oneself, from Postgres and then from Redis", func(t *testing.T) {
		for _, cache := range []string{"miss", "hit"} {
			a := call("GET", "/api/users/me", user, "")
			if a.Status != http.StatusOK || a.Header.Get("X-Cache") != cache || servicetest.JSON[userAnswer](t, a).ID != ada.ID {
				t.Errorf("want a %s: %+v", cache, a)
			}
		}
	})

	t.Run("who may do what", func(t *testing.T) {
		for _, c := range []struct {
			name, method, path, token, body string
			status                          int
		}{
			{"oneself by id", "GET", "/api/users/" + ada.ID, user, "", 200},
			{"another", "GET", "/api/users/" + bob.ID, user, "", 403},
			{"changing another", "PATCH", "/api/users/" + bob.ID, user, `{"name":"X"}`, 403},
			{"deleting another", "DELETE", "/api/users/" + bob.ID, user, "", 403},
			{"changing oneself", "PATCH", "/api/users/me", user, `{"name":"Countess"}`, 200},
			{"making oneself admin", "PATCH", "/api/users/me", user, `{"role":"admin"}`, 403},
			{"signing up as admin", "POST", "/api/users", admin, `{"email":"x@example.com","name":"X","password":"correct horse","role":"admin"}`, 403},
			{"listing", "GET", "/api/users", user, "", 403},
			{"an admin lists", "GET", "/api/users?limit=2", admin, "", 200},
			{"an admin reads another", "GET", "/api/users/" + bob.ID, admin, "", 200},
			{"an admin gives a role", "PATCH", "/api/users/" + bob.ID, admin, `{"role":"admin"}`, 200},
			{"an admin deletes another", "DELETE", "/api/users/" + bob.ID, admin, "", 204},
			{"what is no id", "GET", "/api/users/..%2Fcredentials", admin, "", 404},
			{"what is internal", "POST", "/api/users/credentials/verify", admin, `{}`, 404},
			{"no token", "GET", "/api/users/me", "", "", 401},
			{"a bad token", "GET", "/api/users/me", user + "x", "", 401},
			{"a body too large", "PATCH", "/api/users/me", user, `{"name":"` + strings.Repeat("a", 65<<10) + `"}`, 413},
		} {
			t.Run(c.name, func(t *testing.T) {
				if a := call(c.method, c.path, c.token, c.body); a.Status != c.status {
					t.Errorf("got %d, want %d: %s", a.Status, c.status, a.Body)
				}
			})
		}
	})

	t.Run("metrics and health", func(t *testing.T) {
		metrics := servicetest.Call(t, "GET", g.Ops+"/metrics", "").Body
		for _, want := range []string{
			`gateway_requests_total{method="GET",service="user-service"}`,
			`gateway_request_duration_seconds_count{service="user-service"}`,
		} {
			if !strings.Contains(metrics, want) {
				t.Errorf("/metrics lacks %s", want)
			}
		}
		if a := servicetest.Call(t, "GET", g.HTTP+"/health", ""); a.Status != http.StatusOK || !strings.Contains(a.Body, `"status":"ok"`) {
			t.Errorf("/health: %+v", a)
		}
	})

	t.Run("logs hold neither tokens nor personal data", func(t *testing.T) {
		for _, private := range []string{"example.com", "correct horse", user, ada.ID} {
			if strings.Contains(g.Logs(), private) {
				t.Errorf("the log holds %q", private)
			}
		}
	})
}

// What an upstream gets is seen by an upstream of the test's own.
func TestWhatAServiceIsSent(t *testing.T) {
	var mu sync.Mutex
	var seen *http.Request
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/credentials/verify" {
			_, _ = io.WriteString(w, `{"id":"0190f3a0-0000-7000-8000-000000000001","role":"user"}`)
			return
		}
		seen = r
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
	}))
	defer service.Close()
	g := gatewayFor(t, service.URL)
	token := signIn(t, g)
	answer := servicetest.Call(t, "GET", g.HTTP+"/api/users/me?a=b", "",
		"Authorization: Bearer "+token, "X-User-Id: someone", "X-User-Role: admin", "x-user-name: root",
		"X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "Connection: X-Client-Hop", "X-Client-Hop: 1", "X-Request-Id: abc-1")

	mu.Lock()
	defer mu.Unlock()
	if seen.URL.String() != "/users/0190f3a0-0000-7000-8000-000000000001?a=b" {
		t.Errorf("path %s", seen.URL)
	}
	for header, want := range map[string]string{
		"X-User-Id": "0190f3a0-0000-7000-8000-000000000001", "X-User-Role": "user", "X-User-Name": "",
		"Authorization": "", "Forwarded": "", "X-Client-Hop": "", "X-Forwarded-For": "127.0.0.1", "X-Request-Id": "abc-1",
	} {
		if got := seen.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	if seen.Header.Get("Traceparent") == "" {
		t.Error("no trace context")
	}
	if answer.Header.Get("X-Hop") != "" || len(answer.Header.Values("X-Request-Id")) != 1 {
		t.Errorf("the client got %v", answer.Header)
	}
}

func signIn(t *testing.T, g *servicetest.Running) string {
	t.Helper()
	answer := servicetest.Call(t, "POST", g.HTTP+"/api/auth/token", `{"email":"a@example.com","password":"correct horse"}`)
	if answer.Status != http.StatusOK {
		t.Fatalf("signing in: %+v", answer)
	}
	return servicetest.JSON[tokenAnswer](t, answer).AccessToken
}

func TestAServiceThatFails(t *testing.T) {
	hang := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/credentials/verify":
			_, _ = io.WriteString(w, `{"id":"0190f3a0-0000-7000-8000-000000000001","role":"user"}`)
		case r.Method == http.MethodDelete:
			<-hang
		default: // answers what is no HTTP
			connection, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(connection, "?\r\n\r\n")
				_ = connection.Close()
			}
		}
	}))
	t.Cleanup(service.Close)
	t.Cleanup(func() { close(hang) })
	g := gatewayFor(t, service.URL)
	token := signIn(t, g)
	down := gatewayFor(t, "http://"+unusedAddr(t))

	for _, c := range []struct {
		name, method, url string
		status            int
		retryAfter        string
	}{
		{"answers nonsense", "GET", g.HTTP, 502, ""},
		{"hangs", "DELETE", g.HTTP, 504, ""},
		{"is down", "GET", down.HTTP, 503, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := servicetest.Call(t, c.method, c.url+"/api/users/me", "", "Authorization: Bearer "+token)
			if a.Status != c.status || a.Header.Get("Content-Type") != "application/problem+json" || a.Header.Get("Retry-After") != c.retryAfter {
				t.Errorf("got %+v", a)
			}
			for _, internal := range []string{"127.0.0.1", "dial", "malformed"} {
				if strings.Contains(a.Body, internal) {
					t.Errorf("the client is told of %q: %s", internal, a.Body)
				}
			}
		})
	}
	if a := servicetest.Call(t, "POST", down.HTTP+"/api/auth/token", `{"email":"a@example.com","password":"x"}`); a.Status != http.StatusServiceUnavailable {
		t.Errorf("signing in: %+v", a)
	}
	if a := servicetest.Call(t, "GET", down.Ops+"/readyz", ""); a.Status != http.StatusOK || !strings.Contains(a.Body, `"user-service":"unwell"`) {
		t.Errorf("/readyz: %+v", a)
	}
	if metrics := servicetest.Call(t, "GET", down.Ops+"/metrics", "").Body; !strings.Contains(metrics, `gateway_service_errors_total{service="user-service"}`) {
		t.Error("the failure isn't counted")
	}
}

// A client may not choose between two tokens, nor smuggle a second request.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	g := gatewayFor(t, "http://"+unusedAddr(t))
	for name, c := range map[string]struct {
		raw    string
		status int
	}{
		"two Authorization headers": {"GET /api/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 401},
		"two lengths":               {"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\naa", 400},
		"an unknown encoding":       {"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
	} {
		t.Run(name, func(t *testing.T) {
			connection, err := net.Dial("tcp", strings.TrimPrefix(g.HTTP, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = connection.Close() }()
			_, _ = io.WriteString(connection, c.raw)
			response, err := http.ReadResponse(bufio.NewReader(connection), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			if response.StatusCode != c.status {
				t.Errorf("got %s, want %d", response.Status, c.status)
			}
		})
	}
}

func unusedAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}
