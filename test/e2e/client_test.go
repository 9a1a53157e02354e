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

// client is someone who uses the API.
type client struct {
	base   string
	http   *http.Client
	header http.Header // of every request
}

// with is the client with one header more.
func (c client) with(name, value string) client {
	c.header = c.header.Clone()
	if c.header == nil {
		c.header = http.Header{}
	}
	c.header.Set(name, value)
	return c
}

// gateway is the API as a client outside the cluster reaches it, over a new
// connection each time.
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

// authority is whom the README has clients trust.
func authority() *x509.CertPool {
	pool := x509.NewCertPool()
	if content, err := os.ReadFile(filepath.Join("bin", "ca.pem")); err == nil {
		pool.AppendCertsFromPEM(content) // without it, each request says that nobody vouches for the edge
	}
	return pool
}

// answer is what the API said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// call sends body as JSON, unless it is nil, with the token, unless it is empty.
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

// want is an error unless the status is one of these. Only an error's body is
// quoted: that of a success may hold a token.
func (a answer) want(statuses ...int) error {
	for _, status := range statuses {
		if a.status == status {
			return nil
		}
	}
	if a.status < http.StatusBadRequest {
		return fmt.Errorf("the answer is %d, want %v", a.status, statuses)
	}
	return fmt.Errorf("the answer is %d, want %v: %s", a.status, statuses, bytes.TrimSpace(a.body))
}

// problem is the error that an answer holds (RFC 9457).
func (a answer) problem() (map[string]any, error) {
	if kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); kind != "application/problem+json" {
		return nil, fmt.Errorf("a %d of type %q, want application/problem+json", a.status, kind)
	}
	return parse[map[string]any](string(a.body))
}

// expect is call, and an error unless the answer has one of these statuses.
func (c client) expect(method, path, token string, body any, statuses ...int) (answer, error) {
	given, err := c.call(method, path, token, body)
	if err == nil {
		err = given.want(statuses...)
	}
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return given, nil
}

// mustCall fails the test unless the answer has this status.
func (c client) mustCall(t *testing.T, want int, method, path, token string, body any) answer {
	t.Helper()
	given, err := c.expect(method, path, token, body, want)
	if err != nil {
		t.Fatal(err)
	}
	return given
}

// user is as the API shows one, with the password that this test chose.
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

// signUp makes a user that nobody knows yet. It is gone after the test.
func (c client) signUp(t *testing.T) user {
	t.Helper()
	chosen := user{Email: "e2e-" + strings.ToLower(rand.Text()) + "@platform.example", Name: "End To End", password: rand.Text()}
	made := c.mustCall(t, http.StatusCreated, http.MethodPost, "/api/users", "",
		map[string]string{"email": chosen.Email, "name": chosen.Name, "password": chosen.password})
	created, err := parse[user](string(made.body))
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
			t.Errorf("remove the user that the test made: %v", err)
		}
	})
	if created.ID == "" || created.Email != chosen.Email || created.Name != chosen.Name || created.Role != "user" {
		t.Fatalf("signed up as %s, but became %q: id %q, name %q, role %q", chosen.Email, created.Email, created.ID, created.Name, created.Role)
	}
	return created
}

// signIn returns an access token.
func (c client) signIn(u user) (string, error) {
	given, err := c.expect(http.MethodPost, "/api/auth/token", "", u.credentials(), http.StatusOK)
	if err != nil {
		return "", err
	}
	issued, err := parse[struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"` // seconds
	}](string(given.body))
	if err != nil {
		return "", err
	}
	if issued.AccessToken == "" || issued.TokenType != "Bearer" || issued.ExpiresIn <= 0 {
		return "", errors.New("the answer holds no bearer token with an expiry")
	}
	return issued.AccessToken, nil
}

// mustSignIn is signIn for a test that needs the token.
func (c client) mustSignIn(t *testing.T, u user) string {
	t.Helper()
	token, err := c.signIn(u)
	if err != nil {
		t.Fatalf("sign in: %v", err)
	}
	return token
}
