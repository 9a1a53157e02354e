// Package integration tests the API of any stack from outside, as a user would: make integration-test STACK=<stack>. It needs neither
// the cluster nor its secrets, sends about a hundred requests, and removes the users that it signs up.
package integration

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// api returns a client of the stack's API.
func api(t *testing.T) kit.Client {
	t.Helper()
	url := os.Getenv("INTEGRATION_URL")
	if url == "" {
		t.Fatal("INTEGRATION_URL is not set: run make integration-test STACK=<stack>")
	}
	trusted := &tls.Config{}
	if authority := os.Getenv("INTEGRATION_AUTHORITY"); authority != "" { // the stack local has its own
		trusted.RootCAs = x509.NewCertPool()
		trusted.RootCAs.AppendCertsFromPEM([]byte(authority))
	}
	return kit.Client{Base: strings.TrimSuffix(url, "/"), HTTP: &http.Client{
		Timeout: 15 * time.Second, Transport: &http.Transport{TLSClientConfig: trusted, ForceAttemptHTTP2: true},
	}}
}

func TestAnOrderCausesANotification(t *testing.T) {
	api := api(t)
	token := api.MustSignIn(t, api.SignUp(t))
	placed, err := api.Order(token, rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	if placed.Status != "pending" || placed.Total != 900 {
		t.Errorf("the order is %+v, want a pending order of 900", placed)
	}
	api.AwaitNotifications(t, token, "order.created", placed)
	stranger := api.MustSignIn(t, api.SignUp(t))
	api.MustCall(t, http.StatusNotFound, http.MethodGet, "/api/orders/"+placed.ID, stranger, nil)
}

func TestEveryRequestGetsAResponse(t *testing.T) {
	api := api(t)
	user := api.SignUp(t)
	token := api.MustSignIn(t, user)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for range 50 {
		<-tick.C
		response := api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
		if read, err := kit.ParseJSON[kit.User](string(response.Body)); err != nil || read.Email != user.Email {
			t.Fatalf("the user is %+v (%v), want %s", read, err, user.Email)
		}
	}
}

func TestRequestsWithoutPermissionAreRefused(t *testing.T) {
	api := api(t)
	token := api.MustSignIn(t, api.SignUp(t))
	for _, test := range []struct {
		method, path, token string
		want                int
	}{
		{http.MethodGet, "/api/users/me", "", http.StatusUnauthorized},
		{http.MethodGet, "/api/users/me", token[:len(token)-4], http.StatusUnauthorized},
		{http.MethodGet, "/api/orders", "", http.StatusUnauthorized},
		{http.MethodGet, "/api/users", token, http.StatusForbidden},
		{http.MethodGet, "/api/unknown", token, http.StatusNotFound},
		{http.MethodGet, "/internal/sessions/revoked", token, http.StatusNotFound},
		{http.MethodGet, "/metrics", "", http.StatusNotFound},
	} {
		t.Run(fmt.Sprint(test.method, " ", test.path, " ", test.want), func(t *testing.T) {
			api.MustCall(t, test.want, test.method, test.path, test.token, nil)
		})
	}
}

func TestLimitsAndHeaders(t *testing.T) {
	api := api(t)
	token := api.MustSignIn(t, api.SignUp(t))
	response := api.MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", token, nil)
	for _, name := range []string{"X-Content-Type-Options", "Content-Security-Policy", "X-Request-Id", "Etag"} {
		if response.Header.Get(name) == "" {
			t.Errorf("the response has no header %s: %v", name, response.Header)
		}
	}
	large := map[string]string{"name": strings.Repeat("x", 2<<20)}
	api.MustCall(t, http.StatusRequestEntityTooLarge, http.MethodPatch, "/api/users/me", token, large)

	nobody := kit.User{Email: "e2e-" + strings.ToLower(rand.Text()) + "@platform.example", Password: rand.Text()}
	for range 50 {
		response, err := api.Call(http.MethodPost, "/api/auth/token", "", nobody.Credentials())
		switch {
		case err != nil:
			t.Fatal(err)
		case response.Status == http.StatusTooManyRequests:
			if response.Header.Get("Retry-After") == "" || response.Header.Get("RateLimit") == "" {
				t.Errorf("the refusal has no Retry-After or RateLimit: %v", response.Header)
			}
			return
		case response.Status != http.StatusUnauthorized:
			t.Fatalf("a wrong password gets %d: %s", response.Status, response.Body)
		}
	}
	t.Error("50 wrong passwords are not limited")
}
