package main

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"platform.example/apps/internal/servicetest"
)

// A gateway is verified with the services behind it: each must have answered by
// itself. What goes wrong is told without tokens and keys.
func TestTheVerificationReachesEveryService(t *testing.T) {
	absent := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Cache", "miss")
		w.WriteHeader(http.StatusNotFound)
	}
	list := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }
	status := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for _, c := range []struct {
		name                         string
		users, orders, notifications http.HandlerFunc
		keys                         string
		want                         string
	}{
		{"all are there", absent, list, list, jwtKeys, ""},
		{"user-service isn't asked", status(http.StatusNotFound), list, list, jwtKeys, "GET /api/users/me answers 404 without X-Cache"},
		{"order-service fails", absent, status(http.StatusInternalServerError), list, jwtKeys, "GET /api/orders answers 500, want 200"},
		{"notification-service fails", absent, list, status(http.StatusBadGateway), jwtKeys, "GET /api/notifications answers 502, want 200"},
		{
			"other keys", absent, list, list, "a:" + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("k", 32))),
			"GET /api/users/me answers 401, want 404",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gateway{
				users: newStandIn(t, c.users).URL, orders: newStandIn(t, c.orders).URL, notifications: newStandIn(t, c.notifications).URL,
				env: map[string]string{"SERVICE_VERSION": "0123456789ab", "SERVICE_COLOUR": "green"},
			}
			if c.want == "" { // however little a client may ask for in a minute
				g.env["REQUESTS_PER_MINUTE"] = "1"
			}
			env := g.settings(t)
			s := servicetest.Start(t, name, commands(), env)
			if c.want == "" {
				servicetest.Verifies(t, name, commands(), env, s.HTTP)
				if last := metricLine(t, s.Ops, "service_last_answer_timestamp_seconds"); last != "0" {
					t.Errorf("a verification counts as an answer to a client: %s", last)
				}
				return
			}
			said, err := servicetest.Run(commands(), servicetest.Env(env, map[string]string{
				"JWT_KEYS": c.keys, "VERIFY_URL": s.HTTP, "VERIFY_ENDPOINTS": "1", "VERIFY_LATENCY": "10s", "VERIFY_LATENCY_SHARE": "0.99",
			}), "verify")
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(said+err.Error(), "eyJ") || strings.Contains(err.Error(), c.keys) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// A client sees who had a part in its answer, whether or not a service had.
func TestWhoHasAnswered(t *testing.T) {
	users := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server-Timing", `user-service;desc="blue bbbbbbbbbbbb"`)
		w.Header().Set("X-Colour-Live", "false")
	})
	g := gateway{users: users.URL, env: map[string]string{"SERVICE_VERSION": "0123456789ab", "SERVICE_COLOUR": "green"}}.start(t)
	token := "Authorization: Bearer " + signIn(t, g.HTTP).AccessToken
	const gateway = `api-gateway;desc="green 0123456789ab"`
	for path, want := range map[string]string{
		"/api/users/me": gateway + `, user-service;desc="blue bbbbbbbbbbbb"`,
		"/api/orders":   gateway, // it is down
		"/nothing":      gateway,
	} {
		answer := servicetest.Call(t, "GET", g.HTTP+path, "", token)
		if got := strings.Join(answer.Header.Values("Server-Timing"), ", "); got != want || answer.Header.Get("X-Colour-Live") != "" {
			t.Errorf("%s: Server-Timing is %q, want %q; %v", path, got, want, answer.Header)
		}
	}
}

// metricLine is the value of a metric without labels.
func metricLine(t *testing.T, ops, metric string) string {
	t.Helper()
	_, rest, _ := strings.Cut(servicetest.Call(t, "GET", ops+"/metrics", "").Body, "\n"+metric+" ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}
