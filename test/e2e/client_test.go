package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// client is a client of the API.
type client struct {
	base   string
	http   *http.Client
	header http.Header // added to every request
}

// with returns the client with one more header.
func (c client) with(name, value string) client {
	c.header = c.header.Clone()
	if c.header == nil {
		c.header = http.Header{}
	}
	c.header.Set(name, value)
	return c
}

// gateway returns a client outside of the cluster that opens a new connection for each request.
func gateway() client {
	return client{
		base: os.Getenv(gatewayVariable),
		http: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{
			DisableKeepAlives:     true,
			ExpectContinueTimeout: 5 * time.Second,
			TLSClientConfig:       &tls.Config{RootCAs: authority()},
		}},
	}
}

// authority returns the certificate authority that clients trust according to the README.
func authority() *x509.CertPool {
	pool := x509.NewCertPool()
	if content, err := os.ReadFile(filepath.Join("bin", "ca.pem")); err == nil {
		pool.AppendCertsFromPEM(content) // without it, each request fails to verify the edge's certificate
	}
	return pool
}

// answer is a response of the API.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// call sends body as JSON unless it is nil, and token unless it is empty.
func (c client) call(method, path, token string, body any) (answer, error) {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return answer{}, err
		}
	}
	request, err := http.NewRequest(method, c.base+path, &content)
	if err != nil {
		return answer{}, err
	}
	maps.Copy(request.Header, c.header)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	return answer{status: response.StatusCode, header: response.Header, body: text}, nil
}

// want returns an error unless the status is one of these. It quotes only the body of an error: that of a success may contain a
// token.
func (a answer) want(statuses ...int) error {
	for _, status := range statuses {
		if a.status == status {
			return nil
		}
	}
	if a.status < http.StatusBadRequest {
		return fmt.Errorf("got status %d, want %v", a.status, statuses)
	}
	return fmt.Errorf("got status %d, want %v: %s", a.status, statuses, bytes.TrimSpace(a.body))
}

// problem returns the problem details in the response (RFC 9457).
func (a answer) problem() (map[string]any, error) {
	if kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); kind != "application/problem+json" {
		return nil, fmt.Errorf("a %d of type %q, want application/problem+json", a.status, kind)
	}
	return parse[map[string]any](string(a.body))
}

// expect is like call, but returns an error unless the response has one of these statuses.
func (c client) expect(method, path, token string, body any, statuses ...int) (answer, error) {
	response, err := c.call(method, path, token, body)
	if err == nil {
		err = response.want(statuses...)
	}
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return response, nil
}

// mustCall fails the test unless the response has this status.
func (c client) mustCall(t *testing.T, want int, method, path, token string, body any) answer {
	t.Helper()
	response, err := c.expect(method, path, token, body, want)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// user is a user of the API, with the password that the test chose.
type user struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Name  string `json:"name"`
	Role  string `json:"role"`

	password string
}

func (u user) credentials() map[string]string {
	return map[string]string{"email": u.Email, "password": u.password}
}

// signUp signs up a new user, and removes the user after the test.
func (c client) signUp(t *testing.T) user {
	t.Helper()
	chosen := user{Email: "e2e-" + strings.ToLower(rand.Text()) + "@platform.example", Name: "End To End", password: rand.Text()}
	signedUp := c.mustCall(t, http.StatusCreated, http.MethodPost, "/api/users", "",
		map[string]string{"email": chosen.Email, "name": chosen.Name, "password": chosen.password})
	created, err := parse[user](string(signedUp.body))
	if err != nil {
		t.Fatalf("sign up: %v", err)
	}
	created.password = chosen.password
	t.Cleanup(func() {
		token, err := c.signIn(created)
		if err == nil {
			_, err = c.expect(http.MethodDelete, "/api/users/me", token, map[string]string{"current_password": created.password}, http.StatusNoContent)
		}
		if err != nil {
			t.Errorf("remove the user of the test: %v", err)
		}
	})
	if created.ID == "" || created.Email != chosen.Email || created.Name != chosen.Name || created.Role != "user" {
		t.Fatalf("signed up as %s, but got %q: id %q, name %q, role %q", chosen.Email, created.Email, created.ID, created.Name, created.Role)
	}
	return created
}

// signIn returns an access token.
func (c client) signIn(u user) (string, error) {
	response, err := c.expect(http.MethodPost, "/api/auth/token", "", u.credentials(), http.StatusOK)
	if err != nil {
		return "", err
	}
	issued, err := parse[struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"` // seconds
	}](string(response.body))
	if err != nil {
		return "", err
	}
	if issued.AccessToken == "" || issued.TokenType != "Bearer" || issued.ExpiresIn <= 0 {
		return "", errors.New("the response contains no bearer token with an expiry")
	}
	return issued.AccessToken, nil
}

// mustSignIn is like signIn, but fails the test on an error.
func (c client) mustSignIn(t *testing.T, u user) string {
	t.Helper()
	token, err := c.signIn(u)
	if err != nil {
		t.Fatalf("sign in: %v", err)
	}
	return token
}
