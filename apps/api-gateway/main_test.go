package main

import (
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

const (
	aUser    = "0190f3a0-0000-7000-8000-000000000001"
	aSession = "0190f3a0-0000-7000-8000-000000000002"
	secret   = "0123456789abcdef0123456789abcdef"
)

var (
	jwtKeys = "a:" + base64.RawURLEncoding.EncodeToString([]byte(secret)) // HS256, as earlier versions sign
	edKeys  = "b:ed25519." + base64.RawURLEncoding.EncodeToString([]byte(secret))
)

// gateway configures a gateway for a test; start fills in the rest.
type gateway struct {
	users, orders, notifications string // URLs; "" is a service that is down
	redis                        *backingtest.Redis
	env                          map[string]string
}

func (g gateway) settings(t testing.TB) map[string]string {
	t.Helper()
	if g.redis == nil {
		g.redis = backingtest.StartRedis(t)
	}
	at := func(url string) string {
		if url == "" {
			return "http://" + unusedAddr(t)
		}
		return url
	}
	return servicetest.Env(g.redis.Env(name), map[string]string{
		"JWT_KEYS": jwtKeys, "USER_SERVICE_URL": at(g.users), "ORDER_SERVICE_URL": at(g.orders),
		"NOTIFICATION_SERVICE_URL": at(g.notifications),
	}, g.env)
}

func (g gateway) start(t testing.TB) *servicetest.Running {
	t.Helper()
	return servicetest.Start(t, name, commands(), g.settings(t))
}

func unusedAddr(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// standIn is a service whose responses a test defines. It accepts every sign-in except with the password "wrong".
type standIn struct {
	*httptest.Server
	mu      sync.Mutex
	role    string
	revoked []string
	handle  http.HandlerFunc
}

func newStandIn(t testing.TB, handle http.HandlerFunc) *standIn {
	t.Helper()
	s := &standIn{role: "user", handle: handle}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *standIn) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	role, revoked, handle := s.role, s.revoked, s.handle
	s.mu.Unlock()
	switch r.Method + " " + r.URL.Path {
	case "POST /sessions", "POST /sessions/refresh":
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "wrong") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"user_id":%q,"role":%q,"session_id":%q,"refresh_token":"next","refresh_expires_in":60}`, aUser, role, aSession)
	case "POST /sessions/revoke":
		s.set(func() { s.revoked = append(s.revoked, aSession) })
		w.WriteHeader(http.StatusNoContent)
	case "GET /sessions/revoked":
		_, _ = io.WriteString(w, `{"revoked":[`)
		for i, id := range revoked {
			if i > 0 {
				_, _ = io.WriteString(w, ",")
			}
			_, _ = fmt.Fprintf(w, `{"session_id":%q}`, id)
		}
		_, _ = io.WriteString(w, `]}`)
	case "GET /health":
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	default:
		if handle != nil {
			handle(w, r)
		}
	}
}

type tokenResponse struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int    `json:"expires_in"`
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int    `json:"refresh_expires_in"`
}

func signIn(t testing.TB, url string) tokenResponse {
	t.Helper()
	response := servicetest.Call(t, "POST", url+"/api/auth/token", `{"email":"a@example.com","password":"correct horse"}`)
	if response.Status != http.StatusOK {
		t.Fatalf("signing in: %+v", response)
	}
	return servicetest.JSON[tokenResponse](t, response)
}

func TestCountersBeginAtZero(t *testing.T) {
	servicetest.CountersBeginAtZero(t, gateway{}.start(t).Ops)
}
