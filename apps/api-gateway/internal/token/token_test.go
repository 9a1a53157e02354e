package token

import (
	"encoding/base64"
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
		parts[i] = kid + ":" + base64.RawURLEncoding.EncodeToString([]byte(secret))
	}
	k, err := ParseKeys(strings.Join(parts, ","))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAKeyIsRotatedWithoutATokenRefused(t *testing.T) {
	holder := Holder{identity.Caller{UserID: subject, Role: identity.Admin}, session}
	before := NewAuthority(keys(t, "a:"+oldSecret))
	during := NewAuthority(keys(t, "b:"+newSecret, "a:"+oldSecret))
	after := NewAuthority(keys(t, "b:"+newSecret))
	for _, c := range []struct {
		name           string
		issues, checks *Authority
		accepted       bool
	}{
		{"same key", before, before, true},
		{"old token, new key in front", before, during, true},
		{"new token, both keys", during, during, true},
		{"new token, old key gone", during, after, true},
		{"old token, old key gone", before, after, false},
		{"new token, new key unknown", during, before, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := c.issues.Issue(holder)
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
	now := time.Now()
	a := newAuthority(keys(t, "a:"+oldSecret), func() time.Time { return now })
	// sign signs the claims of a good token with changes; nil takes a claim away.
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
	secret := []byte(oldSecret)
	claims := func(changes jwt.MapClaims) string { return sign(jwt.SigningMethodHS256, secret, nil, changes) }
	headers := func(header map[string]any) string { return sign(jwt.SigningMethodHS256, secret, header, nil) }
	good := claims(nil)
	if _, err := a.Verify(good); err != nil {
		t.Fatalf("a good token: %v", err)
	}
	for name, raw := range map[string]string{
		"nothing":                "",
		"no token":               "abc",
		"many dots":              strings.Repeat(".", 1000),
		"a huge one":             good + strings.Repeat("A", maxBytes),
		"a forged signature":     good[:len(good)-4] + "AAAA",
		"a changed payload":      strings.Replace(good, ".", ".e30", 1),
		"alg none":               sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, nil),
		"another algorithm":      sign(jwt.SigningMethodHS512, secret, nil, nil),
		"another secret":         sign(jwt.SigningMethodHS256, []byte(newSecret), nil, nil),
		"an unknown kid":         headers(map[string]any{"kid": "z"}),
		"a kid that is a number": headers(map[string]any{"kid": 1}),
		"another type":           headers(map[string]any{"typ": "JWT"}),
		"expired":                claims(jwt.MapClaims{"exp": now.Add(-leeway - time.Second).Unix()}),
		"no exp":                 claims(jwt.MapClaims{"exp": nil}),
		"not yet valid":          claims(jwt.MapClaims{"nbf": now.Add(leeway + 2*time.Second).Unix()}),
		"no nbf":                 claims(jwt.MapClaims{"nbf": nil}),
		"issued in the future":   claims(jwt.MapClaims{"iat": now.Add(time.Hour).Unix()}),
		"another issuer":         claims(jwt.MapClaims{"iss": "x"}),
		"another audience":       claims(jwt.MapClaims{"aud": "x"}),
		"no user":                claims(jwt.MapClaims{"sub": nil}),
		"no session":             claims(jwt.MapClaims{"sid": nil}),
		"a sub that is a path":   claims(jwt.MapClaims{"sub": "../credentials"}),
		"an unknown role":        claims(jwt.MapClaims{"role": "root"}),
	} {
		t.Run(name, func(t *testing.T) {
			caller, err := a.Verify(raw)
			if err == nil {
				t.Errorf("accepted as %+v", caller)
			} else if raw != "" && strings.Contains(err.Error(), raw) {
				t.Errorf("the error holds the token: %v", err)
			}
		})
	}
}

// What was found good once is remembered, and no longer than it is good.
func TestARememberedTokenExpires(t *testing.T) {
	now := time.Now()
	a := newAuthority(keys(t, "a:"+oldSecret), func() time.Time { return now })
	want := Holder{identity.Caller{UserID: subject, Role: identity.User}, session}
	raw, err := a.Issue(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		good  bool
	}{{0, true}, {Life / 2, true}, {Life / 2, true}, {leeway + time.Second, false}} {
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
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKeys(raw)
			if err == nil || strings.Contains(err.Error(), good[:40]) {
				t.Errorf("got %v", err)
			}
		})
	}
	if k := keys(t, "a:"+oldSecret); strings.Contains(fmt.Sprintf("%+v %#v", k, k), oldSecret) {
		t.Error("keys show their secrets when printed")
	}
}

func FuzzVerify(f *testing.F) {
	a := NewAuthority(keys(f, "a:"+oldSecret))
	good, err := a.Issue(Holder{identity.Caller{UserID: subject, Role: identity.User}, session})
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

// What is read has keys, none of them short; what isn't is refused without showing it.
func FuzzParseKeys(f *testing.F) {
	f.Add("a:" + base64.RawURLEncoding.EncodeToString([]byte(oldSecret)))
	f.Add("a:,b:")
	f.Fuzz(func(t *testing.T, raw string) {
		k, err := ParseKeys(raw)
		if err != nil {
			return
		}
		for kid, secret := range k.secrets {
			if len(secret.Reveal()) < minSecretBytes || kid == "" {
				t.Errorf("%q has the key %q with %d bytes", raw, kid, len(secret.Reveal()))
			}
		}
		if _, ok := k.secrets[k.signing]; !ok {
			t.Errorf("%q signs with %q, which is no key", raw, k.signing)
		}
	})
}
