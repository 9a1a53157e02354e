// Package token issues and verifies access tokens: JWTs signed with EdDSA, or with HS256 by older keys, in
// accordance with RFC 8725.
package token

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

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
	// leeway is the largest accepted difference between the clocks of two gateways.
	leeway = 5 * time.Second
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
	return &Authority{keys: keys, now: now, verified: recent.New[string, Holder](remembered), parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg(), jwt.SigningMethodHS256.Alg()}),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithNotBeforeRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(now),
	)}
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

// Issue returns a token for a holder.
func (a *Authority) Issue(h Holder) (string, error) { return a.IssueFor(h, Life) }

// IssueFor returns a token for a holder that is valid for life.
func (a *Authority) IssueFor(h Holder, life time.Duration) (string, error) {
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
	a.verified.Put(strings.Clone(raw), holder, c.ExpiresAt.Add(leeway))
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
