package identity

import (
	"crypto/ed25519"
	"encoding/base64"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/problem"
)

const (
	service = "order-service"
	someone = "0190f3a0-0000-7000-8000-000000000001"
)

// seeds are the seeds of the test's keys, by kid.
func seedOf(kid string) []byte { return []byte(strings.Repeat(kid, ed25519.SeedSize)) }

func private(kids ...string) string { return joined(kids, seedOf) }

func public(kids ...string) string {
	return joined(kids, func(kid string) []byte { return ed25519.NewKeyFromSeed(seedOf(kid)).Public().(ed25519.PublicKey) })
}

func joined(kids []string, key func(string) []byte) string {
	var parts []string
	for _, kid := range kids {
		parts = append(parts, kid+":"+base64.RawURLEncoding.EncodeToString(key(kid)))
	}
	return strings.Join(parts, ",")
}

func signer(t testing.TB, kids ...string) *Signer {
	t.Helper()
	s, err := ParseSigner(private(kids...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifier(t testing.TB, now func() time.Time, kids ...string) *Verifier {
	t.Helper()
	keys, err := parsePublicKeys(public(kids...))
	if err != nil {
		t.Fatal(err)
	}
	return newVerifier(service, keys, now)
}

func TestKeyRotationRefusesNoRequest(t *testing.T) {
	want := Caller{UserID: someone, Role: Admin}
	for _, c := range []struct {
		name            string
		signs, verifies []string
		accepted        bool
	}{
		{"the same key", []string{"a"}, []string{"a"}, true},
		{"the next key is known already", []string{"b", "a"}, []string{"a", "b"}, true},
		{"the former key is known still", []string{"a"}, []string{"b", "c", "a"}, true},
		{"a former key that is no longer known", []string{"a"}, []string{"b", "c"}, false},
	} {
		raw, err := signer(t, c.signs...).Sign(want, service)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := verifier(t, time.Now, c.verifies...).Verify(raw); (err == nil) != c.accepted || c.accepted && got != want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	now := time.Now()
	v := verifier(t, func() time.Time { return now }, "a")
	sign := func(method jwt.SigningMethod, key any, header map[string]any, changes jwt.MapClaims) string {
		c := jwt.MapClaims{"iss": issuer, "aud": service, "sub": someone, "role": "user", "iat": now.Unix(), "exp": now.Add(life).Unix()}
		maps.Copy(c, changes)
		maps.DeleteFunc(c, func(_ string, value any) bool { return value == nil })
		token := jwt.NewWithClaims(method, c)
		token.Header["kid"], token.Header["typ"] = "a", tokenType
		maps.Copy(token.Header, header)
		raw, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	key := ed25519.NewKeyFromSeed(seedOf("a"))
	claims := func(changes jwt.MapClaims) string { return sign(jwt.SigningMethodEdDSA, key, nil, changes) }
	headers := func(header map[string]any) string { return sign(jwt.SigningMethodEdDSA, key, header, nil) }
	good := claims(nil)
	if _, err := v.Verify(good); err != nil {
		t.Fatalf("a valid token: %v", err)
	}
	for name, raw := range map[string]string{
		"nothing":                          "",
		"no token":                         "abc",
		"many dots":                        strings.Repeat(".", 1000),
		"a huge one":                       good + strings.Repeat("A", maxBytes),
		"a forged signature":               good[:len(good)-4] + "AAAA",
		"a changed payload":                strings.Replace(good, ".", ".e30", 1),
		"alg none":                         sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, nil),
		"HMAC with the public key":         sign(jwt.SigningMethodHS256, []byte(key.Public().(ed25519.PublicKey)), nil, nil),
		"another key":                      sign(jwt.SigningMethodEdDSA, ed25519.NewKeyFromSeed(seedOf("b")), nil, nil),
		"an unknown kid":                   headers(map[string]any{"kid": "z"}),
		"a kid that is a number":           headers(map[string]any{"kid": 1}),
		"another type":                     headers(map[string]any{"typ": "at+jwt"}),
		"expired":                          claims(jwt.MapClaims{"exp": now.Add(-Leeway - time.Second).Unix()}),
		"no exp":                           claims(jwt.MapClaims{"exp": nil}),
		"issued in the future":             claims(jwt.MapClaims{"iat": now.Add(time.Hour).Unix()}),
		"another issuer":                   claims(jwt.MapClaims{"iss": "x"}),
		"another service":                  claims(jwt.MapClaims{"aud": "user-service"}),
		"a role without a user":            claims(jwt.MapClaims{"sub": nil}),
		"a user without a role":            claims(jwt.MapClaims{"role": nil}),
		"a user with the gateway's role":   claims(jwt.MapClaims{"role": "gateway"}),
		"a sub that is a path":             claims(jwt.MapClaims{"sub": "../credentials"}),
		"an unknown role":                  claims(jwt.MapClaims{"role": "root"}),
		"an unknown role without any user": claims(jwt.MapClaims{"sub": nil, "role": "root"}),
	} {
		t.Run(name, func(t *testing.T) {
			if caller, err := v.Verify(raw); err == nil {
				t.Errorf("accepted as %+v", caller)
			} else if raw != "" && strings.Contains(err.Error(), raw) {
				t.Errorf("the error contains the token: %v", err)
			}
		})
	}
}

func TestTokenIsValidForServicesThatTheServiceCalls(t *testing.T) {
	env := map[string]string{"IDENTITY_KEYS": private("a"), "IDENTITY_AUDIENCES": "greeter-service:order-service,greeter-service:b,other:c"}
	s := ReadSigner(config.From(func(name string) (string, bool) { value, ok := env[name]; return value, ok }))
	for addressee, want := range map[string]bool{"greeter-service": true, "other": false, "order-service": true, "user-service": false} {
		raw, err := s.Sign(Caller{UserID: someone, Role: User}, addressee)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verifier(t, time.Now, "a").Verify(raw); (err == nil) != want {
			t.Errorf("order-service accepts an identity for %s: %v, want %v", addressee, err == nil, want)
		}
	}
	// The gateway's own identity starts sessions at user-service: a service that calls user-service must not get it.
	for caller, want := range map[Caller]bool{{Role: Gateway}: false, {}: true} {
		raw, err := s.Sign(caller, "greeter-service")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verifier(t, time.Now, "a").Verify(raw); (err == nil) != want {
			t.Errorf("order-service accepts %+v for greeter-service: %v, want %v", caller, err == nil, want)
		}
	}
	for _, wrong := range []string{"a", "a:", ":b", "a:b,", "a:b,c"} {
		if _, err := parseAudiences(wrong); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

func TestTokenIsReusedUntilItExpires(t *testing.T) {
	now := time.Now()
	s, v := signer(t, "a"), verifier(t, func() time.Time { return now }, "a")
	s.now = v.now
	first, _ := s.Sign(Caller{UserID: someone, Role: User}, service)
	for _, c := range []struct {
		after       time.Duration
		same, valid bool
	}{{0, true, true}, {life/2 - time.Second, true, true}, {life / 4, false, true}, {life, false, false}} {
		now = now.Add(c.after)
		next, err := s.Sign(Caller{UserID: someone, Role: User}, service)
		if err != nil || (next == first) != c.same {
			t.Errorf("%s later it is the same: %t, %v", c.after, next == first, err)
		}
		if _, err := v.Verify(first); (err == nil) != c.valid {
			t.Errorf("%s later: %v", c.after, err)
		}
	}
	if other, _ := s.Sign(Caller{UserID: someone, Role: Admin}, service); other == first {
		t.Error("another role has the same identity")
	}
}

func TestRequire(t *testing.T) {
	now := time.Now()
	signed := func(caller Caller) string { raw, _ := signer(t, "a").Sign(caller, service); return raw }
	user := Caller{UserID: someone, Role: User}
	plain := http.Header{"X-User-Id": {someone}, "X-User-Role": {"admin"}}
	for _, c := range []struct {
		name   string
		header http.Header
		want   Caller
		status int
	}{
		{"a user", http.Header{Header: {signed(user)}}, user, 200},
		{"nobody", http.Header{Header: {signed(Caller{})}}, Caller{}, 200},
		{"the gateway", http.Header{Header: {signed(Caller{Role: Gateway})}}, Caller{Role: Gateway}, 200},
		{"no identity", nil, Caller{}, 401},
		{"two identities", http.Header{Header: {signed(user), signed(user)}}, Caller{}, 401},
		{"plain headers", plain, Caller{}, 401},
	} {
		v := verifier(t, func() time.Time { return now }, "a")
		var got Caller
		handler := v.Require(&problem.Mapper{Log: slog.New(slog.DiscardHandler)})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = From(r) }))
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		maps.Copy(request.Header, c.header)
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		if response.Code != c.status || got != c.want {
			t.Errorf("%s: %d, %+v", c.name, response.Code, got)
		}
	}
}

func TestInvalidKeys(t *testing.T) {
	for name, raw := range map[string]string{
		"nothing": "", "no kid": private("a")[1:], "a short one": private("a")[:20], "not base64": private("a") + "!", "an empty one": public("a") + ",", "a kid twice": public("a", "b", "a"),
	} {
		if _, err := ParseSigner(raw); err == nil && name != "an empty one" && name != "a kid twice" {
			t.Errorf("%s signs", name)
		}
		env := config.From(func(string) (string, bool) { return raw, true })
		ReadVerifier(env, service)
		err := env.Err()
		if err == nil {
			t.Errorf("%s verifies", name)
		} else if name == "a kid twice" && (!strings.Contains(err.Error(), `has the kid "a" twice`) || strings.Contains(err.Error(), public("a")[2:])) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	v := verifier(f, time.Now, "a")
	raw, _ := signer(f, "a").Sign(Caller{UserID: someone, Role: User}, service)
	f.Add(raw)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, changed string) {
		if caller, err := v.Verify(changed); err == nil && (changed != raw || caller.UserID != someone) {
			t.Errorf("%q is accepted as %+v", changed, caller)
		}
	})
}

// An accepted list has keys of the right size, each with its own kid. The error for a refused list contains no key.
func FuzzParseKeys(f *testing.F) {
	for _, seed := range []string{"", public("a"), public("a", "b"), public("a", "a"), private("a"), "a:", ":", ",", " " + public("a") + " ", public("a") + "="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		keys, err := parsePublicKeys(raw)
		if err == nil && len(keys) != strings.Count(raw, ",")+1 {
			t.Errorf("%q has %d keys", raw, len(keys))
		}
		for kid, key := range keys {
			if kid == "" || len(key) != ed25519.PublicKeySize {
				t.Errorf("%q has the key %q with %d bytes", raw, kid, len(key))
			}
		}
		if s, err := ParseSigner(raw); err == nil && (s.id == "" || len(s.key) != ed25519.PrivateKeySize) {
			t.Errorf("%q signs with %q", raw, s.id)
		}
		if encoded := strings.Repeat("A", 43); err != nil && strings.Contains(raw, encoded) && strings.Contains(err.Error(), encoded) && !strings.Contains(err.Error(), "twice") {
			t.Errorf("the error shows %q: %v", raw, err)
		}
	})
}
