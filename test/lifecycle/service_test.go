package lifecycle

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	gateway  = "https://localhost:30443"
	password = "correct horse battery staple"
)

// client returns a client that trusts the authority in the README. Each new platform has its own authority.
func client() *http.Client {
	authorities := x509.NewCertPool()
	if content, err := os.ReadFile("bin/ca.pem"); err == nil {
		authorities.AppendCertsFromPEM(content) // without it, each request fails to verify the edge's certificate
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: authorities},
	}}
}

// demoUserIsServed signs in like the last screen of up.
func demoUserIsServed(t *testing.T) {
	t.Helper()
	ask(t, strings.TrimSpace(run(t, time.Minute, "token")), http.StatusOK)
}

func ask(t *testing.T, token string, want int) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, gateway+"/api/users/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		t.Fatalf("GET /api/users/me returns %s, want %d", response.Status, want)
	}
}

// signUp signs up a new user.
func signUp(t *testing.T) (email string) {
	t.Helper()
	email = strings.ToLower(rand.Text()) + "@example.com"
	response := post(t, "/api/users", map[string]string{"email": email, "name": "Somebody", "password": password})
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("POST /api/users returns %s", response.Status)
	}
	return email
}

func signedUpBefore(t *testing.T, email string) {
	t.Helper()
	response := post(t, "/api/auth/token", map[string]string{"email": email, "password": password})
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("the sign-in of an earlier user returns %s (%v)", response.Status, err)
	}
	ask(t, answer.AccessToken, http.StatusOK)
}

func post(t *testing.T, path string, body any) *http.Response {
	t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client().Post(gateway+path, "application/json", bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return response
}
