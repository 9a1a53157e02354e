package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/servicetest"
)

// Only the gateway uses user-service's routes of sessions: a client's request can't reach them with any spelling of the path.
func TestClientsCannotReachInternalRoutes(t *testing.T) {
	var mu sync.Mutex
	var reached []string
	users := newStandIn(t, nil)
	watched := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			caller := servicetest.CallerOf(t, r, "user-service")
			if poll := r.Method == http.MethodGet && strings.HasPrefix(r.RequestURI, "/sessions/revoked?after="); !poll || caller != (identity.Caller{Role: identity.Gateway}) {
				mu.Lock()
				reached = append(reached, fmt.Sprintf("%s %s by %+v", r.Method, r.RequestURI, caller))
				mu.Unlock()
			}
		}
		users.ServeHTTP(w, r)
	}))
	defer watched.Close()
	g := gateway{users: watched.URL, orders: watched.URL, notifications: watched.URL}.start(t)
	host := strings.TrimPrefix(g.HTTP, "http://")

	// raw sends a request line unchanged: net/http's client would clean the path.
	raw := func(method, path, token string) int {
		t.Helper()
		connection, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = connection.Close() }()
		_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
		request := method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
		if token != "" {
			request += "Authorization: Bearer " + token + "\r\n"
		}
		if _, err := fmt.Fprint(connection, request+"\r\n{}"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	tokens := map[string]string{
		"nobody":   "",
		"a user":   sign(t, jwt.SigningMethodHS256, []byte(secret), nil, nil),
		"an admin": sign(t, jwt.SigningMethodHS256, []byte(secret), nil, map[string]any{"role": "admin"}),
	}
	paths := []string{
		"/sessions", "//sessions", "/sessions/revoked", "/api/sessions", "/api//sessions", "/api/sessions/revoked", "/api/sessions/external", "/api/../sessions",
		"/api/users/../sessions", "/api/users/../sessions/revoked", "/api/users/%2e%2e/sessions", "/api/users/%2E%2E/sessions/revoked",
		"/api/users/..%2fsessions/revoked", "/api/users/..%2Fsessions%2Frevoked", "/api/users/%2e%2e%2fsessions", "/api/users/..%5csessions",
		"/api/users/me/../../sessions", "/api/users/me%2f..%2f..%2fsessions", "/api/users/me/sessions/..%2f..%2f..%2fsessions%2frevoked",
		"/api/users/" + aUser + "/../../sessions/revoked", "/api/users/" + aUser + "%2f..%2f..%2fsessions%2frevoked",
		"/api/users/" + aUser + "/sessions/../../../sessions/revoked", "/api/users/..;/sessions", "/api/users//sessions", "/api/users/./sessions",
		"/api/users/%252e%252e/sessions", "/api/orders/..%2f..%2fsessions%2frevoked", "/api/orders/%2e%2e/cancel", "/API/sessions", "/api/users/..%00/sessions",
		"http://" + host + "/sessions/revoked", "http://user-service/sessions/revoked", "/api/users/%2e%2e/sessions?since=", "/api/users/me%3f/sessions",
	}
	for who, token := range tokens {
		for _, path := range paths {
			for _, method := range []string{"GET", "POST", "PATCH", "DELETE", "HEAD"} {
				if status := raw(method, path, token); status < 400 || status >= 500 {
					t.Errorf("%s %s as %s: %d", method, path, who, status)
				}
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, request := range reached {
		t.Errorf("user-service gets %s", request)
	}
}
