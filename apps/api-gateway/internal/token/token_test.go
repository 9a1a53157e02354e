package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/identity"
)

const (
	oldSecret = "0123456789abcdef0123456789abcdef"
	newSecret = "fedcba9876543210fedcba9876543210"
	subject   = "0190f3a0-0000-7000-8000-000000000001"
	session   = "0190f3a0-0000-7000-8000-000000000002"
)

func keys(t testing.TB, parts ...string) Keys {
	t.Helper()
	for i := range parts {
		kid, secret, _ := strings.Cut(parts[i], ":")
		secret, isSeed := strings.CutPrefix(secret, seedForm)
		parts[i] = kid + ":" + map[bool]string{true: seedForm}[isSeed] + base64.RawURLEncoding.EncodeToString([]byte(secret))
	}
	k, err := ParseKeys(strings.Join(parts, ","))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyRotationRefusesNoToken(t *testing.T) {
	holder := Holder{identity.Caller{UserID: subject, Role: identity.Admin}, session}
	for name, forms := range map[string][2]string{
		"HS256": {"", ""}, "EdDSA": {seedForm, seedForm}, "from HS256 to EdDSA": {"", seedForm}, "and back": {seedForm, ""},
	} {
		t.Run(name, func(t *testing.T) { rotate(t, holder, "a:"+forms[0]+oldSecret, "b:"+forms[1]+newSecret) })
	}
}

func rotate(t *testing.T, holder Holder, old, next string) {
	t.Helper()
	before, during, after := NewAuthority(keys(t, old)), NewAuthority(keys(t, next, old)), NewAuthority(keys(t, next))
	for _, c := range []struct {
		name           string
		issues, checks *Authority
		accepted       bool
	}{
		{"same key", before, before, true},
		{"old token, new key in front", before, during, true},
		{"new token, both keys", during, during, true},
		{"new token, old key removed", during, after, true},
		{"old token, old key removed", before, after, false},
		{"new token, new key unknown", during, before, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := c.issues.Issue(holder, Life)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.checks.Verify(raw)
			if (err == nil) != c.accepted || c.accepted && got != holder {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	private := func(seed string) ed25519.PrivateKey { return ed25519.NewKeyFromSeed([]byte(seed)) }
	for _, c := range []struct {
		form           string // of the key with the id a
		method, other  jwt.SigningMethod
		key, wrong     any
		confused, swap any // keys for the other algorithm: from the public part of this key, and of the key with the id b
	}{
		{"", jwt.SigningMethodHS256, jwt.SigningMethodEdDSA, []byte(oldSecret), []byte(newSecret), private(oldSecret), private(newSecret)},
		{seedForm, jwt.SigningMethodEdDSA, jwt.SigningMethodHS256, private(oldSecret), private(newSecret),
			[]byte(private(oldSecret).Public().(ed25519.PublicKey)), []byte(newSecret)},
	} {
		t.Run(c.method.Alg(), func(t *testing.T) {
			another := map[string]string{"": seedForm, seedForm: ""}[c.form]
			a := keys(t, "a:"+c.form+oldSecret, "b:"+another+newSecret)
			verifyRefuses(t, a, c.method, c.other, c.key, c.wrong, c.confused, c.swap)
		})
	}
}

func verifyRefuses(t *testing.T, k Keys, method, other jwt.SigningMethod, key, wrong, confused, swap any) {
	t.Helper()
	now := time.Now()
	a := newAuthority(k, func() time.Time { return now })
	// sign signs the claims of a valid token with changes; nil removes a claim.
	sign := func(method jwt.SigningMethod, key any, header map[string]any, changes jwt.MapClaims) string {
		c := jwt.MapClaims{
			"iss": issuer, "aud": audience, "sub": subject, "sid": session, "role": "user",
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(Life).Unix(),
		}
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
	claims := func(changes jwt.MapClaims) string { return sign(method, key, nil, changes) }
	headers := func(header map[string]any) string { return sign(method, key, header, nil) }
	good := claims(nil)
	kid, seed := "a", oldSecret // of the Ed25519 key
	if method == jwt.SigningMethodHS256 {
		kid, seed = "b", newSecret
	}
	for _, raw := range []string{good, sign(other, swap, map[string]any{"kid": "b"}, nil)} {
		if _, err := a.Verify(raw); err != nil {
			t.Fatalf("a valid token: %v", err)
		}
	}
	for name, raw := range map[string]string{
		"nothing":            "",
		"no token":           "abc",
		"many dots":          strings.Repeat(".", 1000),
		"a huge one":         good + strings.Repeat("A", maxBytes),
		"a forged signature": good[:len(good)-4] + "AAAA",
		"a changed payload":  strings.Replace(good, ".", ".e30", 1),
		"alg none":           sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, nil),
		"another algorithm":  sign(jwt.SigningMethodHS512, []byte(oldSecret), nil, nil),
		"another key":        sign(method, wrong, nil, nil),
		"the public part of the key with the other algorithm": sign(other, confused, nil, nil),
		"the other key with the id of this one":               sign(other, swap, nil, nil),
		"the id of the other key":                             headers(map[string]any{"kid": "b"}),
		"the seed as a secret":                                sign(jwt.SigningMethodHS256, []byte(seed), map[string]any{"kid": kid}, nil),
		"an unknown kid":                                      headers(map[string]any{"kid": "z"}),
		"a kid that is a number":                              headers(map[string]any{"kid": 1}),
		"another type":                                        headers(map[string]any{"typ": "JWT"}),
		"expired":                                             claims(jwt.MapClaims{"exp": now.Add(-identity.Leeway - time.Second).Unix()}),
		"no exp":                                              claims(jwt.MapClaims{"exp": nil}),
		"not yet valid":                                       claims(jwt.MapClaims{"nbf": now.Add(identity.Leeway + 2*time.Second).Unix()}),
		"no nbf":                                              claims(jwt.MapClaims{"nbf": nil}),
		"issued in the future":                                claims(jwt.MapClaims{"iat": now.Add(time.Hour).Unix()}),
		"another issuer":                                      claims(jwt.MapClaims{"iss": "x"}),
		"another audience":                                    claims(jwt.MapClaims{"aud": "x"}),
		"no user":                                             claims(jwt.MapClaims{"sub": nil}),
		"no session":                                          claims(jwt.MapClaims{"sid": nil}),
		"a sub that is a path":                                claims(jwt.MapClaims{"sub": "../credentials"}),
		"an unknown role":                                     claims(jwt.MapClaims{"role": "root"}),
	} {
		t.Run(name, func(t *testing.T) {
			caller, err := a.Verify(raw)
			if err == nil {
				t.Errorf("accepted as %+v", caller)
			} else if raw != "" && strings.Contains(err.Error(), raw) {
				t.Errorf("the error contains the token: %v", err)
			}
		})
	}
}

// A verified token is cached until it expires.
func TestCachedTokenExpires(t *testing.T) {
	now := time.Now()
	a := newAuthority(keys(t, "a:"+oldSecret), func() time.Time { return now })
	want := Holder{identity.Caller{UserID: subject, Role: identity.User}, session}
	raw, err := a.Issue(want, Life)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		good  bool
	}{{0, true}, {Life / 2, true}, {Life / 2, true}, {identity.Leeway + time.Second, false}} {
		now = now.Add(c.after)
		if got, err := a.Verify(raw); (err == nil) != c.good || c.good && got != want {
			t.Errorf("%s later: %+v, %v", c.after, got, err)
		}
	}
}

func TestParseKeysRefuses(t *testing.T) {
	good := base64.RawURLEncoding.EncodeToString([]byte(oldSecret))
	for name, raw := range map[string]string{
		"nothing":      "",
		"no kid":       ":" + good,
		"a bad kid":    "a b:" + good,
		"a kid twice":  "a:" + good + ",a:" + good,
		"a short one":  "a:" + good[:40],
		"not base64":   "a:" + good + "!",
		"an empty one": "a:" + good + ",",
		"a short seed": "a:" + seedForm + good[:40],
		"a long seed":  "a:" + seedForm + good + good,
		"two forms":    "a:" + seedForm + seedForm + good,
		"another form": "a:rsa." + good,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKeys(raw)
			if err == nil || strings.Contains(err.Error(), good[:40]) || name == "a kid twice" && !strings.Contains(err.Error(), `the kid "a" twice`) {
				t.Errorf("got %v", err)
			}
		})
	}
	k := keys(t, "a:"+oldSecret, "b:"+seedForm+newSecret)
	printed := fmt.Sprintf("%+v %#v", k, k)
	for _, secret := range []string{oldSecret, newSecret, fmt.Sprintf("%v", []byte(newSecret))[1:95], fmt.Sprintf("%#v", []byte(newSecret))[7:100]} {
		if strings.Contains(printed, secret) {
			t.Error("keys show their secrets when printed")
		}
	}
}

func TestPublicKeysContainNoSecret(t *testing.T) {
	// The seed and the public key of RFC 8037, A.1 and A.2.
	const seed, public = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	k, err := ParseKeys("a:" + base64.RawURLEncoding.EncodeToString([]byte(oldSecret)) + ",b:" + seedForm + seed)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(NewAuthority(k).PublicKeys())
	if want := `{"keys":[{"use":"sig","kty":"OKP","kid":"b","crv":"Ed25519","alg":"EdDSA","x":"` + public + `"}]}`; err != nil || string(raw) != want {
		t.Errorf("got %s, %v, want %s", raw, err, want)
	}
	if raw, _ := json.Marshal(NewAuthority(keys(t, "a:"+oldSecret)).PublicKeys()); string(raw) != `{"keys":[]}` {
		t.Errorf("of a secret: %s", raw)
	}
}

func FuzzVerify(f *testing.F) {
	a := NewAuthority(keys(f, "a:"+oldSecret))
	good, err := a.Issue(Holder{identity.Caller{UserID: subject, Role: identity.User}, session}, Life)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, raw string) {
		if caller, err := a.Verify(raw); err == nil && raw != good {
			t.Errorf("%q was accepted as %+v", raw, caller)
		}
	})
}

// Accepted keys have the required lengths. The error for refused ones doesn't contain them.
func FuzzParseKeys(f *testing.F) {
	f.Add("a:" + base64.RawURLEncoding.EncodeToString([]byte(oldSecret)))
	f.Add("a:" + seedForm + base64.RawURLEncoding.EncodeToString([]byte(oldSecret)))
	f.Add("a:,b:")
	f.Fuzz(func(t *testing.T, raw string) {
		k, err := ParseKeys(raw)
		if err != nil {
			return
		}
		for kid, key := range k.byID {
			if len(key.private.Reveal()) < minSecretBytes || kid == "" {
				t.Errorf("%q has the key %q with %d bytes", raw, kid, len(key.private.Reveal()))
			}
		}
		if _, ok := k.byID[k.signing]; !ok {
			t.Errorf("%q signs with %q, which is no key", raw, k.signing)
		}
	})
}
