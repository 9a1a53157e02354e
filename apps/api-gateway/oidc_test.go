package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/api-gateway/internal/provider"
	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

const clientID = "shop"

// identityProvider is an OpenID Connect provider that a test can make fail.
type identityProvider struct {
	*httptest.Server
	t        testing.TB
	key      atomic.Pointer[ecdsa.PrivateKey]
	kid      atomic.Value
	trouble  atomic.Value // the path that is in trouble, and how
	requests atomic.Int64
}

func newIdentityProvider(t testing.TB) *identityProvider {
	t.Helper()
	p := &identityProvider{t: t}
	p.newKey("first")
	p.trouble.Store("")
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *identityProvider) newKey(kid string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.key.Store(key)
	p.kid.Store(kid)
}

func (p *identityProvider) env() map[string]string {
	return map[string]string{"OIDC_ISSUER": p.URL, "OIDC_CLIENT_ID": clientID}
}

const (
	configurationPath = "/.well-known/openid-configuration"
	keysPath          = "/keys"
)

func (p *identityProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	switch p.trouble.Load() {
	case r.URL.Path + " away":
		if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = connection.Close()
		}
		return
	case r.URL.Path + " failing":
		http.Error(w, "no", http.StatusInternalServerError)
		return
	case r.URL.Path + " hanging":
		<-r.Context().Done()
		return
	case r.URL.Path + " flooding":
		_, _ = io.WriteString(w, strings.Repeat(" ", 128<<10))
	case r.URL.Path + " somebody else":
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": "https://elsewhere.example", "jwks_uri": p.URL + keysPath})
		return
	}
	switch r.URL.Path {
	case configurationPath:
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": p.URL, "jwks_uri": p.URL + keysPath, "id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		})
	case keysPath:
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Load().Public(), KeyID: p.kid.Load().(string), Algorithm: "ES256", Use: "sig"}}})
	}
}

// token returns an ID token of a new user with nonce n and the changed claims; nil removes a claim.
func (p *identityProvider) token(changes map[string]any) string {
	return p.signed(jwt.SigningMethodES256, p.key.Load(), nil, changes)
}

func (p *identityProvider) signed(method jwt.SigningMethod, key any, header, changes map[string]any) string {
	p.t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": p.URL, "aud": clientID, "sub": "1", "nonce": "n", "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"email": "new@example.com", "email_verified": true, "name": "Ada", "picture": "https://example.com/ada.png",
	}
	for name, value := range changes {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = p.kid.Load()
	for name, value := range header {
		token.Header[name] = value
	}
	raw, err := token.SignedString(key)
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

// otherSignature returns the token with the other valid form of its ECDSA signature (r, s): (r, n-s).
func (p *identityProvider) otherSignature(token string) string {
	end := strings.LastIndexByte(token, '.') + 1
	signature := backingtest.Must[[]byte](p.t)(base64.RawURLEncoding.DecodeString(token[end:]))
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return token[:end] + base64.RawURLEncoding.EncodeToString(signature)
}

// otherForms returns the token in other forms that verify: with white space, with other unused bits at the end of
// the base64 of its header, and in the JSON serialization (RFC 7515, 7.2).
func (p *identityProvider) otherForms(token string) []string {
	parts := strings.Split(token, ".")
	object := fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q`, parts[0], parts[1], parts[2])
	return []string{" " + token, strings.Replace(token, ".", "\n.", 1), strings.Replace(token, "0.", "1.", 1), object + "}", object + `,"x":"."}`}
}

func idToken(raw, nonce string) string {
	return fmt.Sprintf(`{"id_token":%q,"nonce":%q}`, raw, nonce)
}

// linking handles sign-ins with an identity provider like user-service, and counts the requests.
func linking(requests *atomic.Int64) http.HandlerFunc {
	var tokens sync.Map
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method+" "+r.URL.Path != "POST /sessions/external" {
			return
		}
		requests.Add(1)
		body, _ := io.ReadAll(r.Body)
		_, used := tokens.Load(r.Header.Get("X-Id-Token"))
		switch {
		case used:
			w.WriteHeader(http.StatusUnauthorized)
		case !strings.Contains(string(body), `"email_verified":true`):
			w.WriteHeader(http.StatusForbidden)
		case strings.Contains(string(body), "taken@"):
			w.WriteHeader(http.StatusConflict)
		case strings.Contains(string(body), "down@"):
			w.WriteHeader(http.StatusInternalServerError)
		case !strings.Contains(string(body), `"sub":"1","email":"new@example.com","email_verified":true,"name":"Ada"}`):
			w.WriteHeader(http.StatusUnprocessableEntity)
		default:
			tokens.Store(r.Header.Get("X-Id-Token"), true)
			w.WriteHeader(http.StatusCreated)
			_, _ = fmt.Fprintf(w, `{"user_id":%q,"role":"user","session_id":%q,"refresh_token":"next","refresh_expires_in":60}`, aUser, aSession)
		}
	}
}

func TestSignInWithIdentityProvider(t *testing.T) {
	p := newIdentityProvider(t)
	var requests atomic.Int64
	g := gateway{users: newStandIn(t, linking(&requests)).URL, env: p.env()}.start(t)
	post := func(body string) servicetest.Response {
		t.Helper()
		return servicetest.Call(t, "POST", g.HTTP+"/api/auth/oidc", body)
	}
	good := p.token(nil)
	a := post(idToken(good, "n"))
	granted := servicetest.JSON[tokenResponse](t, a)
	if a.Status != http.StatusOK || a.Header.Get("Cache-Control") != "no-store" || granted.RefreshToken != "next" ||
		servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", "Authorization: Bearer "+granted.AccessToken).Status != http.StatusOK {
		t.Fatalf("got %+v", a)
	}
	if a := servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", "Authorization: Bearer "+good); a.Status != http.StatusUnauthorized {
		t.Errorf("an ID token is taken for an access token: %d", a.Status)
	}
	if a := post(idToken(p.token(map[string]any{"aud": []string{"other", clientID}}), "n")); a.Status != http.StatusOK {
		t.Errorf("of two audiences: %+v", a)
	}
	for status, changes := range map[int]map[string]any{
		http.StatusForbidden:          {"email_verified": false},
		http.StatusConflict:           {"email": "taken@example.com"},
		http.StatusServiceUnavailable: {"email": "down@example.com"},
	} {
		if a := post(idToken(p.token(changes), "n")); a.Status != status {
			t.Errorf("with %v: %+v, want %d", changes, a, status)
		}
	}
	if a := post(idToken(p.token(map[string]any{"email_verified": nil}), "n")); a.Status != http.StatusForbidden {
		t.Errorf("without email_verified: %+v", a)
	}

	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(p.key.Load().Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: another.Public()})
	if err != nil {
		t.Fatal(err)
	}
	claims := func(changes map[string]any) string { return idToken(p.token(changes), "n") }
	requests.Store(0)
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"another audience":           {claims(map[string]any{"aud": "other"}), 401},
		"no audience":                {claims(map[string]any{"aud": nil}), 401},
		"another issuer":             {claims(map[string]any{"iss": "https://elsewhere.example"}), 401},
		"no issuer":                  {claims(map[string]any{"iss": nil}), 401},
		"another nonce":              {idToken(good, "m"), 401},
		"no nonce in the token":      {claims(map[string]any{"nonce": nil}), 401},
		"no nonce anywhere":          {idToken(p.token(map[string]any{"nonce": nil}), ""), 422},
		"expired":                    {claims(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), 401},
		"no expiry":                  {claims(map[string]any{"exp": nil}), 401},
		"not yet valid":              {claims(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), 401},
		"email_verified in words":    {claims(map[string]any{"email_verified": "yes"}), 401},
		"alg none":                   {idToken(p.signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, nil), "n"), 401},
		"HS256 with the public key":  {idToken(p.signed(jwt.SigningMethodHS256, public, nil, nil), "n"), 401},
		"HS256 with the client id":   {idToken(p.signed(jwt.SigningMethodHS256, []byte(clientID), nil, nil), "n"), 401},
		"another key":                {idToken(p.signed(jwt.SigningMethodES256, another, nil, nil), "n"), 401},
		"an unknown key id":          {idToken(p.signed(jwt.SigningMethodES256, another, map[string]any{"kid": "other"}, nil), "n"), 401},
		"an embedded key":            {idToken(p.signed(jwt.SigningMethodES256, another, map[string]any{"jwk": json.RawMessage(jwk)}, nil), "n"), 401},
		"no signature":               {idToken(good[:strings.LastIndex(good, ".")+1], "n"), 401},
		"an access token of ours":    {idToken(granted.AccessToken, "n"), 401},
		"no token":                   {idToken("x", "n"), 401},
		"nothing":                    {`{}`, 422},
		"a token of more than 8 KiB": {claims(map[string]any{"x": strings.Repeat("x", 8<<10)}), 422},
		"an unknown field":           {`{"id_token":"x","nonce":"n","issuer":"x"}`, 400},
	} {
		if a := post(c.body); a.Status != c.status {
			t.Errorf("%s: %+v, want %d", name, a, c.status)
		}
	}
	if n := requests.Load(); n > 0 {
		t.Errorf("user-service got %d requests", n)
	}
	if logs := g.Logs(); strings.Contains(logs, good) || strings.Contains(logs, "example.com\"") || strings.Contains(logs, "Ada") {
		t.Error("the log contains a token or personal data")
	}
}

func TestIDTokenIsAcceptedOnce(t *testing.T) {
	p := newIdentityProvider(t)
	var requests atomic.Int64
	users := newStandIn(t, linking(&requests)).URL
	g, another := gateway{users: users, env: p.env()}.start(t), gateway{users: users, env: p.env()}.start(t)
	used := p.token(nil)
	for i, c := range []struct {
		gateway *servicetest.Running
		token   string
		status  int
	}{{g, used, 200}, {g, used, 401}, {another, used, 401}, {another, p.otherSignature(used), 401}} {
		if a := servicetest.Call(t, "POST", c.gateway.HTTP+"/api/auth/oidc", idToken(c.token, "n")); a.Status != c.status {
			t.Errorf("sign-in %d with a token: %+v, want %d", i+1, a, c.status)
		}
	}
	for _, form := range p.otherForms(used) {
		if a := servicetest.Call(t, "POST", g.HTTP+"/api/auth/oidc", idToken(form, "n")); a.Status != http.StatusUnauthorized {
			t.Errorf("a used token in the form %q: %+v", form, a)
		}
	}
	if a := servicetest.Call(t, "POST", g.HTTP+"/api/auth/oidc", idToken(p.token(map[string]any{"jti": "another"}), "n")); a.Status != http.StatusOK {
		t.Errorf("another token of the same user: %+v", a)
	}
	failing := p.token(map[string]any{"email": "down@example.com"})
	for range 2 { // a token without a session is still valid
		if a := servicetest.Call(t, "POST", g.HTTP+"/api/auth/oidc", idToken(failing, "n")); a.Status != http.StatusServiceUnavailable {
			t.Errorf("while user-service fails: %+v", a)
		}
	}
}

func TestFailedIDTokensAreLimited(t *testing.T) {
	p := newIdentityProvider(t)
	g := gateway{users: newStandIn(t, nil).URL, env: p.env()}.start(t)
	status := 0
	for i := range 3 * failuresPerAddress { // a window may end while the test runs
		if status = servicetest.Call(t, "POST", g.HTTP+"/api/auth/oidc", idToken(fmt.Sprint("x", i), "n")).Status; status != http.StatusUnauthorized {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("after many bad ID tokens: %d", status)
	}
}

// The gateway starts and becomes ready without the provider, and uses it once it is available.
func TestUnavailableIdentityProvider(t *testing.T) {
	p := newIdentityProvider(t)
	p.trouble.Store(configurationPath + " away")
	var requests atomic.Int64
	g := gateway{users: newStandIn(t, linking(&requests)).URL, env: p.env()}.start(t)
	backingtest.Eventually(t, 30*time.Second, func() error {
		if a := servicetest.Call(t, "GET", g.Ops+"/readyz", ""); a.Status != http.StatusOK {
			return fmt.Errorf("/readyz: %+v", a)
		}
		return nil
	})
	if p.requests.Load() > 0 {
		t.Error("the provider got a request before the first sign-in")
	}
	pause := provider.RetryAfter // until the next discovery
	signIn := func(trouble string, status int) {
		t.Helper()
		p.trouble.Store(trouble)
		time.Sleep(pause)
		a := servicetest.Call(t, "POST", g.HTTP+"/api/auth/oidc", idToken(p.token(nil), "n"))
		if a.Status != status || status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") == "" {
			t.Errorf("with trouble %q: %+v, want %d", trouble, a, status)
		}
	}
	for _, trouble := range []string{"away", "failing", "flooding", "hanging", "somebody else"} {
		signIn(configurationPath+" "+trouble, http.StatusServiceUnavailable)
	}
	for _, trouble := range []string{"away", "failing", "flooding", "hanging"} {
		signIn(keysPath+" "+trouble, http.StatusServiceUnavailable)
	}
	signIn("", http.StatusOK)
	pause = 0
	signIn(configurationPath+" away", http.StatusOK) // the configuration is not requested again
	signIn(keysPath+" away", http.StatusOK)
	p.newKey("second")
	signIn(keysPath+" away", http.StatusServiceUnavailable)
	signIn("", http.StatusOK)
}

func TestNoIdentityProvider(t *testing.T) {
	g := gateway{users: newStandIn(t, nil).URL}.start(t)
	if a := servicetest.Call(t, "POST", g.HTTP+"/api/auth/oidc", idToken("x", "n")); a.Status != http.StatusNotFound {
		t.Errorf("got %+v", a)
	}
	for want, env := range map[string]map[string]string{
		"OIDC_CLIENT_ID is required and not set": {"OIDC_ISSUER": "https://accounts.example.com"},
		"OIDC_ISSUER is required and not set":    {"OIDC_CLIENT_ID": clientID},
		"OIDC_ISSUER must be a URL":              {"OIDC_CLIENT_ID": clientID, "OIDC_ISSUER": "accounts.example.com"},
	} {
		if _, err := servicetest.Run(commands(), gateway{env: env}.settings(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %v: %v", env, err)
		}
	}
}

// A gateway with keys of both forms accepts tokens of both, and publishes only the public keys.
func TestPublicKeysAreServed(t *testing.T) {
	const public = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" // RFC 8037, A.2
	g := gateway{users: newStandIn(t, nil).URL, env: map[string]string{
		"JWT_KEYS": "new:ed25519.nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A," + jwtKeys,
	}}.start(t)
	a := servicetest.Call(t, "GET", g.HTTP+"/.well-known/jwks.json", "")
	want := `{"keys":[{"use":"sig","kty":"OKP","kid":"new","crv":"Ed25519","alg":"EdDSA","x":"` + public + `"}]}`
	if a.Status != http.StatusOK || strings.TrimSpace(a.Body) != want || a.Header.Get("Cache-Control") != "public, max-age=300" ||
		a.Header.Get("Content-Type") != "application/jwk-set+json" {
		t.Fatalf("got %+v", a)
	}
	granted := signIn(t, g.HTTP).AccessToken
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(a.Body), &keys); err != nil {
		t.Fatal(err)
	}
	_, err := jwt.Parse(granted, func(token *jwt.Token) (any, error) { return keys.Key(token.Header["kid"].(string))[0].Key, nil },
		jwt.WithValidMethods([]string{"EdDSA"}))
	if err != nil {
		t.Errorf("an access token isn't verified by the keys: %v", err)
	}
	for _, token := range []string{granted, sign(t, jwt.SigningMethodHS256, []byte(secret), nil, nil)} {
		if a := servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", "Authorization: Bearer "+token); a.Status != http.StatusOK {
			t.Errorf("a token of ours: %+v", a)
		}
	}
}
