package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/api-gateway/internal/provider"
	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
)

// Guesses at an account count together for all spellings of its email.
func TestAccount(t *testing.T) {
	want := account("ada@xn--bcher-kva.example")
	for _, email := range []string{"ADA@xn--bcher-kva.example", "ada@bücher.example", "ada@bu\u0308cher.example", "ada@BÜCHER.Example"} {
		if account(email) != want {
			t.Errorf("%q is another account", email)
		}
	}
	if account("eve@xn--bcher-kva.example") == want {
		t.Error("eve is ada")
	}
}

// watch reads the revoked sessions until stop.
func (f *fixture) watch() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { f.Sessions.Watch(ctx); close(ended) }()
	return func() { cancel(); <-ended }
}

// grants is user-service's response to a sign-in.
var grants = responds(fmt.Sprintf(`{"user_id":%q,"role":"user","session_id":%q,"refresh_token":"next","refresh_expires_in":60}`, aUser, aSession))

// granted checks a response with tokens.
func (f *fixture) granted(w *httptest.ResponseRecorder) error {
	var response tokenResponse
	if err := json.Unmarshal(w.Body.Bytes(), &response); err != nil || w.Code != http.StatusOK {
		return fmt.Errorf("%d %s: %w", w.Code, w.Body, err)
	}
	holder, err := f.Tokens.Verify(response.AccessToken)
	if err != nil || holder.UserID != aUser || holder.Role != identity.User || holder.SessionID != aSession {
		return fmt.Errorf("the token's holder is %+v: %w", holder, err)
	}
	if response.TokenType != "Bearer" || response.ExpiresIn != 900 || response.RefreshToken != "next" || response.RefreshExpiresIn != 60 ||
		w.Header().Get("Cache-Control") != "no-store" {
		return fmt.Errorf("the response is %+v with %v", response, w.Header())
	}
	return nil
}

func TestSignInRefreshAndRevoke(t *testing.T) {
	f := newFixture(t)
	for path, body := range map[string]string{
		"/sessions":         `{"email":"a@example.com","password":"correct horse"}`,
		"/sessions/refresh": `{"refresh_token":"r"}`,
		"/sessions/revoke":  `{"refresh_token":"r"}`,
	} {
		f.on("POST /users"+path, func(w http.ResponseWriter, r *http.Request) {
			got := backingtest.Must[[]byte](t)(io.ReadAll(r.Body))
			if string(got) != body || r.Header.Get("X-Forwarded-For") != anAddress || r.UserAgent() != "a browser" {
				t.Errorf("%s gets %s from %s, %s", path, got, r.Header.Get("X-Forwarded-For"), r.UserAgent())
			}
			grants(w, r)
		})
	}
	for _, c := range []struct{ path, body string }{
		{"/api/auth/token", `{"email":"a@example.com","password":"correct horse"}`},
		{"/api/auth/refresh", `{"refresh_token":"r"}`},
	} {
		if err := f.granted(f.call("POST", c.path, c.body, "User-Agent: a browser")); err != nil {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	if w := f.call("POST", "/api/auth/revoke", `{"refresh_token":"r"}`, "User-Agent: a browser"); w.Code != http.StatusNoContent {
		t.Errorf("revoking: %d", w.Code)
	}
	f.sent()

	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/api/auth/token", `{"email":"a@example.com"}`, 422},
		{"/api/auth/token", `{"password":"correct horse"}`, 422},
		{"/api/auth/token", `{"email":"a@example.com","password":"` + strings.Repeat("x", 513) + `"}`, 422},
		{"/api/auth/token", `{"email":1}`, 400},
		{"/api/auth/refresh", `{}`, 422},
		{"/api/auth/refresh", `{"refresh_token":1}`, 400},
		{"/api/auth/revoke", `{}`, 422},
		{"/api/auth/oidc", `{"id_token":"x","nonce":"n"}`, 404}, // no provider
	} {
		if w := f.call("POST", c.path, c.body); w.Code != c.status {
			t.Errorf("%s %.60s: %d, want %d", c.path, c.body, w.Code, c.status)
		}
	}
	if sent := f.sent(); len(sent) > 0 {
		t.Errorf("user-service gets %q", sent)
	}
	f.on("POST /users/sessions", grants)
	if err := f.granted(f.call("POST", "/api/auth/token", `{"email":"a@example.com","password":"`+strings.Repeat("x", 512)+`"}`)); err != nil {
		t.Errorf("a password of 512 bytes: %v", err)
	}
	for _, path := range []string{"/sessions", "/sessions/refresh", "/sessions/revoke"} {
		f.on("POST /users"+path, status(http.StatusInternalServerError))
	}
	for _, c := range []struct{ path, body string }{
		{"/api/auth/token", `{"email":"a@example.com","password":"x"}`},
		{"/api/auth/refresh", `{"refresh_token":"r"}`},
		{"/api/auth/revoke", `{"refresh_token":"r"}`},
	} {
		if w := f.call("POST", c.path, c.body); w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s while user-service fails: %d", c.path, w.Code)
		}
	}
}

// A refused sign-in counts against its account and its address, and any other sign-in against neither.
func TestFailedSignInsAreLimited(t *testing.T) {
	f := newFixture(t)
	f.Accounts, f.Sources = newLimit(2), newLimit(3)
	attempt := func(address, email string) int {
		return f.from(address, "POST", "/api/auth/token", fmt.Sprintf(`{"email":%q,"password":"x"}`, email)).Code
	}
	for _, response := range []http.HandlerFunc{grants, status(http.StatusServiceUnavailable)} {
		f.on("POST /users/sessions", response)
		for range 4 {
			if code := attempt(anAddress, "a@example.com"); code == http.StatusTooManyRequests || code == http.StatusUnauthorized {
				t.Errorf("a sign-in that isn't refused: %d", code)
			}
		}
	}
	f.on("POST /users/sessions", status(http.StatusUnauthorized))
	for i, c := range []struct {
		address, email string
		status         int
	}{
		{anAddress, "a@example.com", 401},
		{anAddress, "A@example.com", 401},
		{anAddress, "a@example.com", 429},
		{anAddress, "b@example.com", 401}, // the third failure of the address
		{anAddress, "c@example.com", 429},
		{anAddress, "c@example.com", 429},
		{anAddress, "c@example.com", 429},
		{anotherAddress, "c@example.com", 401}, // refusals of the address didn't count against the account
		{anotherAddress, "c@example.com", 401},
		{anotherAddress, "c@example.com", 429},
	} {
		if code := attempt(c.address, c.email); code != c.status {
			t.Errorf("attempt %d, for %s from %s: %d, want %d", i+1, c.email, c.address, code, c.status)
		}
	}
}

// newProvider returns an identity provider, and a function that signs its ID tokens.
func newProvider(t *testing.T) (*provider.Provider, func(changes jwt.MapClaims) string) {
	t.Helper()
	key := backingtest.Must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": server.URL, "jwks_uri": server.URL + "/keys"})
	}))
	t.Cleanup(server.Close)
	env := map[string]string{"OIDC_ISSUER": server.URL, "OIDC_CLIENT_ID": "shop"}
	read := provider.Read(config.From(func(name string) (string, bool) { value, ok := env[name]; return value, ok }))
	return read, func(changes jwt.MapClaims) string {
		claims := jwt.MapClaims{"iss": server.URL, "aud": "shop", "sub": "1", "nonce": "n", "jti": rand.Text(), "exp": time.Now().Add(time.Hour).Unix()}
		for name, value := range changes {
			claims[name] = value
		}
		signed := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
		signed.Header["kid"] = "k"
		return backingtest.Must[string](t)(signed.SignedString(key))
	}
}

func TestSignInWithAnIDToken(t *testing.T) {
	f := newFixture(t)
	var idToken func(jwt.MapClaims) string
	f.Provider, idToken = newProvider(t)
	signIn := func(token, nonce string) *httptest.ResponseRecorder {
		return f.call("POST", "/api/auth/oidc", fmt.Sprintf(`{"id_token":%q,"nonce":%q}`, token, nonce))
	}
	token := idToken(nil)
	f.on("POST /users/sessions/external", status(http.StatusServiceUnavailable))
	if w := signIn(token, "n"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("while user-service is unavailable: %d", w.Code)
	}
	f.on("POST /users/sessions/external", grants)
	if err := f.granted(signIn(token, "n")); err != nil { // the failed attempt didn't use it up
		t.Error(err)
	}
	f.sent()
	for _, c := range []struct {
		name, token, nonce string
		status             int
	}{
		{"used before", token, "n", 401},
		{"with another nonce", idToken(nil), "m", 401},
		{"expired", idToken(jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}), "n", 401},
		{"without a token", "", "n", 422},
		{"without a nonce", idToken(nil), "", 422},
		{"too long", strings.Repeat("x", maxIDTokenBytes+1), "n", 422},
		{"of the greatest length, but not a token", strings.Repeat("x", maxIDTokenBytes), "n", 401},
	} {
		if w := signIn(c.token, c.nonce); w.Code != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.status)
		}
	}
	if w := f.call("POST", "/api/auth/oidc", `{"id_token":1}`); w.Code != http.StatusBadRequest {
		t.Errorf("a body of another form: %d", w.Code)
	}
	if sent := f.sent(); len(sent) > 0 {
		t.Errorf("user-service gets %q", sent)
	}
}

func TestPublicKeysAreServed(t *testing.T) {
	w := newFixture(t).call("GET", "/.well-known/jwks.json", "")
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &keys); err != nil || len(keys.Keys) != 1 || keys.Keys[0].KeyID != "a" ||
		w.Header().Get("Content-Type") != "application/jwk-set+json" || w.Header().Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("%d %s with %v: %v", w.Code, w.Body, w.Header(), err)
	}
}
