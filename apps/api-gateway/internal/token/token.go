// Package token issues and verifies access tokens: JWTs signed with EdDSA, or with HS256 by older keys, in
// accordance with RFC 8725.
package token

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/recent"
	"platform.example/apps/internal/resourceid"
)

const (
	// Life is how long a token is valid.
	Life = 15 * time.Minute

	issuer   = "https://platform.example/api-gateway"
	audience = "https://platform.example/api"
	// tokenType distinguishes an access token from any other JWT (RFC 9068; RFC 8725, 3.11).
	tokenType = "at+jwt"
	// maxBytes limits the size of a token before it is parsed: tokens have about 450 bytes.
	maxBytes = 2048
	// remembered is how many tokens are cached, about 1.5 MiB. Verifying a token takes 60 µs and half of all
	// memory of a request.
	remembered = 2048
)

// Authority issues and verifies tokens.
type Authority struct {
	keys     Keys
	now      func() time.Time
	parser   *jwt.Parser
	verified recent.Cache[string, Holder] // by complete, valid token: forged tokens evict no others
}

// NewAuthority returns an Authority that signs with the first of keys.
func NewAuthority(keys Keys) *Authority { return newAuthority(keys, time.Now) }

func newAuthority(keys Keys, now func() time.Time) *Authority {
	methods := []string{jwt.SigningMethodEdDSA.Alg(), jwt.SigningMethodHS256.Alg()}
	return &Authority{
		keys: keys, now: now, verified: recent.New[string, Holder](remembered),
		parser: identity.NewParser(issuer, audience, now, jwt.WithValidMethods(methods), jwt.WithNotBeforeRequired()),
	}
}

// PublicKeys returns the public keys (RFC 8037): the current, next and former ones. HS256 secrets have none.
func (a *Authority) PublicKeys() jose.JSONWebKeySet { return a.keys.public }

// Holder is the user and the session of a token.
type Holder struct {
	identity.Caller
	SessionID string `json:"session_id"`
}

type claims struct {
	jwt.RegisteredClaims
	Role    identity.Role `json:"role"`
	Session string        `json:"sid"` // OpenID Connect Front-Channel Logout 1.0, 3
}

// Issue returns a token for a holder that is valid for life.
func (a *Authority) Issue(h Holder, life time.Duration) (string, error) {
	now := a.now()
	key := a.keys.byID[a.keys.signing]
	token := jwt.NewWithClaims(key.method, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: h.UserID,
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		},
		Role:    h.Role,
		Session: h.SessionID,
	})
	token.Header["kid"] = a.keys.signing
	token.Header["typ"] = tokenType
	signingKey, _ := key.pair()
	signed, err := token.SignedString(signingKey)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed, nil
}

// Verify returns the holder of a token. Its errors don't contain the token.
func (a *Authority) Verify(raw string) (Holder, error) {
	if len(raw) > maxBytes {
		return Holder{}, fmt.Errorf("the token has %d bytes, the limit is %d", len(raw), maxBytes)
	}
	if known, ok := a.verified.Get(raw, a.now()); ok {
		return known, nil
	}
	var c claims
	if _, err := a.parser.ParseWithClaims(raw, &c, a.key); err != nil {
		return Holder{}, fmt.Errorf("verifying a token: %w", err)
	}
	if !isID(c.Subject) || !isID(c.Session) || !c.Role.Valid() {
		return Holder{}, errors.New("the token has no valid user, session or role")
	}
	holder := Holder{identity.Caller{UserID: c.Subject, Role: c.Role}, c.Session}
	a.verified.Put(strings.Clone(raw), holder, c.ExpiresAt.Add(identity.Leeway))
	return holder, nil
}

func isID(text string) bool {
	_, ok := resourceid.Parse(text)
	return ok
}

func (a *Authority) key(t *jwt.Token) (any, error) {
	if t.Header["typ"] != tokenType {
		return nil, errors.New("the token is not an access token")
	}
	kid, _ := t.Header["kid"].(string)
	known, ok := a.keys.byID[kid]
	if !ok || t.Method != known.method {
		return nil, errors.New("the key is unknown or has another algorithm")
	}
	_, verificationKey := known.pair()
	return verificationKey, nil
}

const (
	// minSecretBytes is the size of the hash, the minimum of RFC 7518, 3.2.
	minSecretBytes = 32
	// seedForm precedes the seed of an Ed25519 key. Its dot doesn't occur in base64url.
	seedForm = "ed25519."
)

// key is a signing key. Its form determines its only algorithm (RFC 8725, 3.1).
type key struct {
	method  jwt.SigningMethod // EdDSA or HS256
	private config.Secret
}

// pair returns the key that signs and the key that verifies.
func (k key) pair() (signing, verification any) {
	private := []byte(k.private.Reveal())
	if k.method == jwt.SigningMethodHS256 {
		return private, private
	}
	return ed25519.PrivateKey(private), ed25519.PrivateKey(private).Public()
}

// Keys are the signing keys by key id. The first one signs; all of them verify, so that a new key can be put
// in front.
type Keys struct {
	signing string
	byID    map[string]key
	public  jose.JSONWebKeySet
}

// ParseKeys parses `kid:base64url(secret)` and `kid:ed25519.base64url(seed)` parts separated by commas. Its
// errors contain the key id, never a key.
func ParseKeys(raw string) (Keys, error) {
	keys := Keys{byID: map[string]key{}, public: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}}
	kidForm := regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	for part := range strings.SplitSeq(raw, ",") {
		kid, encoded, found := strings.Cut(strings.TrimSpace(part), ":")
		if !found || !kidForm.MatchString(kid) {
			return Keys{}, errors.New("must be kid:ed25519.base64url(seed) or kid:base64url(secret), several separated by commas; a kid has 1 to 32 letters, digits, - or _")
		}
		if _, twice := keys.byID[kid]; twice {
			return Keys{}, fmt.Errorf("has the kid %q twice", kid)
		}
		encoded, isSeed := strings.CutPrefix(encoded, seedForm)
		secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
		if err != nil {
			return Keys{}, fmt.Errorf("has a key for the kid %q that is not base64url", kid)
		}
		if len(secret) < minSecretBytes || isSeed && len(secret) != ed25519.SeedSize {
			return Keys{}, fmt.Errorf("has a key of %d bytes for the kid %q: a secret has at least %d, a seed exactly %d",
				len(secret), kid, minSecretBytes, ed25519.SeedSize)
		}
		keys.signing = cmp.Or(keys.signing, kid)
		var method jwt.SigningMethod = jwt.SigningMethodHS256
		if isSeed {
			private := ed25519.NewKeyFromSeed(secret)
			method, secret = jwt.SigningMethodEdDSA, private
			keys.public.Keys = append(keys.public.Keys, jose.JSONWebKey{Key: private.Public(), KeyID: kid, Use: "sig", Algorithm: method.Alg()})
		}
		keys.byID[kid] = key{method, config.NewSecret(string(secret))}
	}
	return keys, nil
}
