package main

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"platform.example/apps/internal/servicetest"
)

// A gateway is verified together with the services: each must have responded itself. Errors contain no tokens and keys.
func TestVerificationReachesEveryService(t *testing.T) {
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
		{"user-service gets no request", status(http.StatusNotFound), list, list, jwtKeys, "GET /api/users/me responds with 404 without the header X-Cache"},
		{"order-service fails", absent, status(http.StatusInternalServerError), list, jwtKeys, "GET /api/orders responds with 500, want 200"},
		{"notification-service fails", absent, list, status(http.StatusBadGateway), jwtKeys, "GET /api/notifications responds with 502, want 200"},
		{
			"other keys", absent, list, list, "a:" + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("k", 32))),
			"GET /api/users/me responds with 401, want 404",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gateway{
				users: newStandIn(t, c.users).URL, orders: newStandIn(t, c.orders).URL, notifications: newStandIn(t, c.notifications).URL,
				env: map[string]string{"SERVICE_VERSION": "0123456789ab", "SERVICE_COLOUR": "green"},
			}
			if c.want == "" { // independent of the limits per client
				g.env["REQUESTS_PER_MINUTE"] = "1"
			}
			env := g.settings(t)
			s := servicetest.Start(t, name, commands(), env)
			if c.want == "" {
				servicetest.Verifies(t, name, commands(), env, s.HTTP)
				if last := metricLine(t, s.Ops, "service_last_answer_timestamp_seconds"); last != "0" {
					t.Errorf("a verification counts as a response to a client: %s", last)
				}
				return
			}
			output, err := servicetest.Run(commands(), servicetest.Env(env, map[string]string{
				"JWT_KEYS": c.keys, "VERIFY_URL": s.HTTP, "VERIFY_ENDPOINTS": "1", "VERIFY_LATENCY": "10s", "VERIFY_LATENCY_SHARE": "0.99",
			}), "verify")
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(output+err.Error(), "eyJ") || strings.Contains(err.Error(), c.keys) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// A client sees which services produced its response.
func TestServerTimingNamesGatewayAndService(t *testing.T) {
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
		response := servicetest.Call(t, "GET", g.HTTP+path, "", token)
		if got := strings.Join(response.Header.Values("Server-Timing"), ", "); got != want || response.Header.Get("X-Colour-Live") != "" {
			t.Errorf("%s: Server-Timing is %q, want %q; %v", path, got, want, response.Header)
		}
	}
}

// metricLine matches the value of a metric without labels.
func metricLine(t *testing.T, ops, metric string) string {
	t.Helper()
	_, rest, _ := strings.Cut(servicetest.Call(t, "GET", ops+"/metrics", "").Body, "\n"+metric+" ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}
