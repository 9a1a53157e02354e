package kit

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

// Client is a client of the API. It is a value: With returns a changed copy.
type Client struct {
	Base   string // URL without a path
	HTTP   *http.Client
	header http.Header // added to every request
}

// With returns the client with one more header.
func (c Client) With(name, value string) Client {
	c.header = c.header.Clone()
	if c.header == nil {
		c.header = http.Header{}
	}
	c.header.Set(name, value)
	return c
}

// Gateway returns a client of the platform that Main has found. The client is outside of the cluster.
func Gateway() Client { return NewClient(os.Getenv(gatewayVariable)) }

// EdgeAddress returns the address of the edge: host:port.
func EdgeAddress() string { return strings.TrimPrefix(Gateway().Base, "https://") }

// NewClient returns a client of the API at a base URL, which opens a new connection for each request. It trusts the certificate
// authority of the platform that runs now: a new platform needs a new client.
func NewClient(base string) Client {
	return Client{
		Base: base,
		HTTP: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{
			DisableKeepAlives:     true,
			ExpectContinueTimeout: 5 * time.Second,
			TLSClientConfig:       &tls.Config{RootCAs: Authority()},
		}},
	}
}

// Authority returns the certificate authority that clients trust according to the README, or an empty pool if there is none.
func Authority() *x509.CertPool {
	pool := x509.NewCertPool()
	if content, err := os.ReadFile(filepath.Join("bin", "ca.pem")); err == nil {
		pool.AppendCertsFromPEM(content) // without it, each request fails to verify the edge's certificate
	}
	return pool
}

// Response is a response of the API, with the first MiB of its body.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Call sends body as JSON unless it is nil, and token as a bearer token unless it is empty.
func (c Client) Call(method, path, token string, body any) (Response, error) {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return Response{}, err
		}
	}
	request, err := http.NewRequest(method, c.Base+path, &content)
	if err != nil {
		return Response{}, err
	}
	maps.Copy(request.Header, c.header)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return Response{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return Response{}, err
	}
	return Response{Status: response.StatusCode, Header: response.Header, Body: text}, nil
}

// want returns an error unless the status is one of these. It quotes only the body of an error: that of a success may contain a
// token.
func (a Response) want(statuses ...int) error {
	for _, status := range statuses {
		if a.Status == status {
			return nil
		}
	}
	if a.Status < http.StatusBadRequest {
		return fmt.Errorf("got status %d, want %v", a.Status, statuses)
	}
	return fmt.Errorf("got status %d, want %v: %s", a.Status, statuses, bytes.TrimSpace(a.Body))
}

// Problem returns the problem details in the response (RFC 9457).
func (a Response) Problem() (map[string]any, error) {
	if kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); kind != "application/problem+json" {
		return nil, fmt.Errorf("a %d of type %q, want application/problem+json", a.Status, kind)
	}
	return ParseJSON[map[string]any](string(a.Body))
}

// Expect is like Call, but returns an error unless the response has one of these statuses.
func (c Client) Expect(method, path, token string, body any, statuses ...int) (Response, error) {
	response, err := c.Call(method, path, token, body)
	if err == nil {
		err = response.want(statuses...)
	}
	if err != nil {
		return Response{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return response, nil
}

// MustCall is like Expect, but fails the test on an error.
func (c Client) MustCall(t *testing.T, want int, method, path, token string, body any) Response {
	t.Helper()
	response, err := c.Expect(method, path, token, body, want)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// User is a user of the API, with the password that the test chose.
type User struct {
	ID       string `json:"id"`
	Email    string `json:"email"`
	Name     string `json:"name"`
	Role     string `json:"role"`
	Password string `json:"-"`
}

// Credentials returns the body of a sign-in.
func (u User) Credentials() map[string]string {
	return map[string]string{"email": u.Email, "password": u.Password}
}

// SignUp signs up a new user, and removes the user after the test.
func (c Client) SignUp(t *testing.T) User {
	t.Helper()
	chosen := User{Email: "e2e-" + strings.ToLower(rand.Text()) + "@platform.example", Name: "End To End", Password: rand.Text()}
	signedUp := c.MustCall(t, http.StatusCreated, http.MethodPost, "/api/users", "",
		map[string]string{"email": chosen.Email, "name": chosen.Name, "password": chosen.Password})
	created, err := ParseJSON[User](string(signedUp.Body))
	if err != nil {
		t.Fatalf("sign up: %v", err)
	}
	created.Password = chosen.Password
	t.Cleanup(func() {
		token, err := c.SignIn(created)
		if err == nil {
			_, err = c.Expect(http.MethodDelete, "/api/users/me", token, map[string]string{"current_password": created.Password}, http.StatusNoContent)
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

// SignIn returns an access token.
func (c Client) SignIn(u User) (string, error) {
	response, err := c.Expect(http.MethodPost, "/api/auth/token", "", u.Credentials(), http.StatusOK)
	if err != nil {
		return "", err
	}
	issued, err := ParseJSON[struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"` // seconds
	}](string(response.Body))
	if err != nil {
		return "", err
	}
	if issued.AccessToken == "" || issued.TokenType != "Bearer" || issued.ExpiresIn <= 0 {
		return "", errors.New("the response contains no bearer token with an expiry")
	}
	return issued.AccessToken, nil
}

// MustSignIn is like SignIn, but fails the test on an error.
func (c Client) MustSignIn(t *testing.T, u User) string {
	t.Helper()
	token, err := c.SignIn(u)
	if err != nil {
		t.Fatalf("sign in: %v", err)
	}
	return token
}
