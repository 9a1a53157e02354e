package e2e

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/test/kit"
)

const (
	clientID    = "shop"
	redirectURI = "https://app.example.com/signed-in"
)

// claims are the claims of an ID token.
type claims map[string]any

// with returns the claims with changes; nil removes a claim.
func (c claims) with(changes claims) claims {
	changed := maps.Clone(c)
	maps.Copy(changed, changes)
	maps.DeleteFunc(changed, func(_ string, value any) bool { return value == nil })
	return changed
}

// provider is an OpenID Connect provider with the authorization code flow and PKCE (RFC 7636). Its users are signed in already: the
// login hint selects one.
type provider struct {
	issuer  string
	browser *http.Client // of the users

	mu    sync.Mutex
	kid   string
	key   *ecdsa.PrivateKey
	users map[string]claims // by subject
	codes map[string]authorization
}

// authorization is what the provider remembers about a code.
type authorization struct{ subject, nonce, challenge string }

// startProvider starts the provider at the port of https.
func startProvider(t *testing.T, trusted authority) *provider {
	t.Helper()
	listener, err := tls.Listen("tcp", net.JoinHostPort(internet, "443"), trusted.issue(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{issuer: "https://" + internet, kid: "first", key: newKey(t), users: map[string]claims{}, codes: map[string]authorization{}}
	p.browser = &http.Client{
		Timeout:       15 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted.roots()}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	server := &http.Server{Handler: p.routes(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return p
}

func (p *provider) routes() http.Handler {
	routes := http.NewServeMux()
	send := func(w http.ResponseWriter, value any) { _ = json.NewEncoder(w).Encode(value) }
	routes.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		send(w, map[string]any{
			"issuer": p.issuer, "jwks_uri": p.issuer + "/keys", "authorization_endpoint": p.issuer + "/authorize", "token_endpoint": p.issuer + "/token",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"}, "code_challenge_methods_supported": []string{"S256"},
		})
	})
	routes.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		point, err := p.key.PublicKey.Bytes() // 4, x, y
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		send(w, map[string]any{"keys": []any{map[string]string{
			"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": p.kid, "x": encode(point[1:33]), "y": encode(point[33:]),
		}}})
	})
	routes.HandleFunc("GET /authorize", p.authorize)
	routes.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		token, err := p.exchange(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		send(w, map[string]string{"token_type": "Bearer", "access_token": rand.Text(), "id_token": token})
	})
	return routes
}

// authorize redirects the user back to the app, with a code.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	for name, want := range map[string]string{
		"client_id": clientID, "redirect_uri": redirectURI, "response_type": "code", "code_challenge_method": "S256",
	} {
		if asked.Get(name) != want {
			http.Error(w, name+" is not "+want, http.StatusBadRequest)
			return
		}
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = authorization{asked.Get("login_hint"), asked.Get("nonce"), asked.Get("code_challenge")}
	p.mu.Unlock()
	http.Redirect(w, r, redirectURI+"?"+url.Values{"code": {code}, "state": {asked.Get("state")}}.Encode(), http.StatusFound)
}

// exchange returns the ID token for a code, which is valid once.
func (p *provider) exchange(r *http.Request) (string, error) {
	code := r.PostFormValue("code")
	p.mu.Lock()
	given, known := p.codes[code]
	user := p.users[given.subject]
	delete(p.codes, code)
	p.mu.Unlock()
	verifier := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !known || encode(verifier[:]) != given.challenge || r.PostFormValue("client_id") != clientID {
		return "", errors.New("invalid_grant")
	}
	return p.sign(p.claims(given.subject, given.nonce).with(user), nil)
}

// claims returns the claims of a token that is valid for an hour.
func (p *provider) claims(subject, nonce string) claims {
	now := time.Now()
	return claims{
		"iss": p.issuer, "aud": clientID, "sub": subject, "nonce": nonce, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

// sign signs claims with ES256 (RFC 7518, 3.4), by the key of the provider unless another is given.
func (p *provider) sign(content claims, by *ecdsa.PrivateKey) (string, error) {
	p.mu.Lock()
	kid, key := p.kid, p.key
	p.mu.Unlock()
	if by != nil {
		key = by
	}
	header, err := json.Marshal(map[string]string{"alg": "ES256", "typ": "JWT", "kid": kid})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	signed := encode(header) + "." + encode(body)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	const size = 32
	return signed + "." + encode(append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)), nil
}

// rotate replaces the key of the provider.
func (p *provider) rotate(t *testing.T) {
	t.Helper()
	key := newKey(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kid, p.key = "second", key
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// newUser adds a user to the provider, with a verified email unless changes say otherwise, and returns the subject.
func (p *provider) newUser(changes claims) (subject string) {
	subject = rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[subject] = claims{
		"email": "e2e-" + strings.ToLower(rand.Text()) + "@platform.example", "email_verified": true, "name": "Ada",
	}.with(changes)
	return subject
}

// idToken signs a user in at the provider as an app does in a browser, and returns the ID token and its nonce.
func (p *provider) idToken(t *testing.T, subject string) (token, nonce string) {
	t.Helper()
	state, verifier := rand.Text(), rand.Text()+rand.Text()
	nonce = rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	sent, err := p.browser.Get(p.issuer + "/authorize?" + url.Values{
		"client_id": {clientID}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "scope": {"openid email profile"}, "state": {state},
		"nonce": {nonce}, "code_challenge": {encode(challenge[:])}, "code_challenge_method": {"S256"}, "login_hint": {subject},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	_ = sent.Body.Close()
	back, err := sent.Location()
	if err != nil || sent.StatusCode != http.StatusFound || back.Query().Get("state") != state {
		t.Fatalf("the provider sent the user to %v: %s %v", back, sent.Status, err)
	}
	exchanged, err := p.browser.PostForm(p.issuer+"/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {clientID}, "redirect_uri": {redirectURI}, "code": {back.Query().Get("code")}, "code_verifier": {verifier},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = exchanged.Body.Close() }()
	var response struct {
		IDToken string `json:"id_token"`
	}
	if err := json.NewDecoder(exchanged.Body).Decode(&response); err != nil || exchanged.StatusCode != http.StatusOK {
		t.Fatalf("the provider returns %s for the code: %v", exchanged.Status, err)
	}
	return response.IDToken, nonce
}

// signIn posts an ID token to the gateway.
func signIn(token, nonce string) (kit.Response, error) {
	return kit.Gateway().Call(http.MethodPost, "/api/auth/oidc", "", map[string]string{"id_token": token, "nonce": nonce})
}

// account is the user that an access token belongs to.
type account struct {
	ID        string `json:"id"`
	Email     string `json:"email"`
	Name      string `json:"name"`
	Confirmed bool   `json:"email_confirmed"`
}

// accountOf signs a user of the provider in, and returns the account that the access token belongs to.
func (p *provider) accountOf(t *testing.T, subject string) account {
	t.Helper()
	response, err := signIn(p.idToken(t, subject))
	if err != nil || response.Status != http.StatusOK {
		t.Fatalf("sign in with the provider: %d %s %v", response.Status, response.Body, err)
	}
	granted, err := kit.ParseJSON[struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}](string(response.Body))
	if err != nil || granted.RefreshToken == "" {
		t.Fatalf("the response has no tokens: %v", err)
	}
	read := kit.Gateway().MustCall(t, http.StatusOK, http.MethodGet, "/api/users/me", granted.AccessToken, nil)
	found, err := kit.ParseJSON[account](string(read.Body))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// testSignInWithProvider signs a new user in, finds the user again, and gives the user a password by email.
func testSignInWithProvider(t *testing.T, p *provider, server *mailServer) {
	api := kit.Gateway()
	email := "e2e-" + strings.ToLower(rand.Text()) + "@platform.example"
	subject := p.newUser(claims{"email": email})
	first := p.accountOf(t, subject)
	if want := (account{first.ID, email, "Ada", true}); first != want {
		t.Errorf("the new user is %+v, want %+v", first, want)
	}
	p.mu.Lock()
	p.users[subject]["email"] = "moved-" + email
	p.mu.Unlock()
	if again := p.accountOf(t, subject); again != first {
		t.Errorf("with another email at the provider, the user is %+v, want %+v", again, first)
	}
	p.rotate(t)
	if again := p.accountOf(t, subject); again != first {
		t.Errorf("after a rotation of the provider's key, the user is %+v, want %+v", again, first)
	}

	// A user who has signed up here keeps the account, whatever a provider says about its email.
	owner := api.SignUp(t)
	for range 2 {
		response, err := signIn(p.idToken(t, p.newUser(claims{"email": owner.Email})))
		if err != nil || response.Status != http.StatusConflict {
			t.Errorf("a user of the provider with the email of another user gets %d %s %v, want 409", response.Status, response.Body, err)
		}
	}
	api.MustSignIn(t, owner)
	for name, changes := range map[string]claims{
		"an email that isn't verified": {"email_verified": false}, "no email": {"email": nil}, "no word about its email": {"email_verified": nil},
	} {
		if response, err := signIn(p.idToken(t, p.newUser(changes))); err != nil || response.Status != http.StatusForbidden {
			t.Errorf("a new user with %s gets %d %s %v, want 403", name, response.Status, response.Body, err)
		}
	}

	if _, err := api.SignIn(kit.User{Email: email, Password: "a password that nobody has set"}); err == nil {
		t.Error("a user without a password signs in with one")
	}
	user := server.givePassword(t, email)
	token := api.MustSignIn(t, user)
	if again := p.accountOf(t, subject); again.ID != first.ID {
		t.Errorf("with a password, the user of the provider is %s, want %s", again.ID, first.ID)
	}
	api.MustCall(t, http.StatusNoContent, http.MethodDelete, "/api/users/me", token, map[string]string{"current_password": user.Password})
}

// testRefusedIDTokens signs in with ID tokens that the gateway must refuse. Each would create a user.
func testRefusedIDTokens(t *testing.T, p *provider, server *mailServer) {
	subject := p.newUser(nil)
	p.mu.Lock()
	user := p.users[subject]
	p.mu.Unlock()
	foreign := newKey(t)
	const nonce = "the nonce of this sign-in"
	good := p.claims(subject, nonce).with(user)
	for name, c := range map[string]struct {
		changes claims
		key     *ecdsa.PrivateKey
	}{
		"the key of somebody else": {nil, foreign},
		"an expiry in the past":    {claims{"exp": time.Now().Add(-time.Minute).Unix()}, nil},
		"another audience":         {claims{"aud": "another app"}, nil},
		"another issuer":           {claims{"iss": "https://accounts.example.com"}, nil},
		"the nonce of another":     {claims{"nonce": "another nonce"}, nil},
		"no nonce":                 {claims{"nonce": nil}, nil},
	} {
		token, err := p.sign(good.with(c.changes), c.key)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := signIn(token, nonce); err != nil || response.Status != http.StatusUnauthorized {
			t.Errorf("an ID token with %s gets %d %s %v, want 401", name, response.Status, response.Body, err)
		}
	}
	rows, err := kit.UsersSQL("SELECT count(*) FROM external_identities WHERE subject = :'id'", subject)
	if err != nil || rows != "0" {
		t.Errorf("the refused tokens left %s identities: %v", rows, err)
	}

	email := "e2e-" + strings.ToLower(rand.Text()) + "@platform.example"
	token, nonceOfToken := p.idToken(t, p.newUser(claims{"email": email}))
	for attempt, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if response, err := signIn(token, nonceOfToken); err != nil || response.Status != want {
			t.Errorf("sign-in %d with one ID token gets %d %v, want %d", attempt+1, response.Status, err, want)
		}
	}
	api, owner := kit.Gateway(), server.givePassword(t, email)
	api.MustCall(t, http.StatusNoContent, http.MethodDelete, "/api/users/me", api.MustSignIn(t, owner), map[string]string{"current_password": owner.Password})
}
