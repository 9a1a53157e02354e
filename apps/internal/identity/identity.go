// Package identity carries the identity of a caller from the gateway, which has verified the access token, to
// a service. The gateway signs a short-lived token for that one service. Services trust no other source.
package identity

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/recent"
	"platform.example/apps/internal/resourceid"
)

// Role is the role of a caller.
type Role string

// The roles of callers.
const (
	User  Role = "user"  // may access their own resources
	Admin Role = "admin" // may access all resources
	// Gateway is the gateway itself, without a user: it starts and ends sessions.
	Gateway Role = "gateway"
)

// Valid reports whether r is the role of a user.
func (r Role) Valid() bool { return r == User || r == Admin }

// Caller is the sender of a request. The zero Caller hasn't signed in.
type Caller struct {
	UserID string `json:"user_id"`
	Role   Role   `json:"role"`
}

type callerKey struct{}

// With returns a context that holds the caller.
func With(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// From returns the caller of a request.
func From(r *http.Request) Caller {
	caller, _ := r.Context().Value(callerKey{}).(Caller)
	return caller
}

// Principal is a caller who has signed in.
type Principal struct {
	ID   uuid.UUID
	Role Role
}

// Handler handles the request of a caller who has signed in.
type Handler func(http.ResponseWriter, *http.Request, Principal) error

// RequireUser returns a handler that calls handle for signed-in callers. It fails with
// problem.Unauthenticated for others.
func RequireUser(handle Handler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		caller := From(r)
		id, ok := resourceid.Parse(caller.UserID)
		if !ok || id == uuid.Nil || !caller.Role.Valid() {
			return problem.New(problem.Unauthenticated, "Sign in to do this.", nil)
		}
		return handle(w, r, Principal{ID: id, Role: caller.Role})
	}
}

// Scope returns the user whose resources p may access; uuid.Nil means the resources of all users.
func (p Principal) Scope() uuid.UUID {
	if p.Role == Admin {
		return uuid.Nil
	}
	return p.ID
}

// Header is the header with the token. The gateway never accepts it from a client.
const Header = "X-Identity"

const (
	issuer = "https://platform.example/api-gateway"
	// tokenType distinguishes the token from any other JWT (RFC 8725, 3.11).
	tokenType = "identity+jwt"
	// life is how long a token is valid. Sign reuses it for half of that time.
	life = time.Minute
	// Leeway is the largest accepted difference between the clocks of two nodes.
	Leeway = 5 * time.Second
	// maxBytes limits the size of a token before it is parsed: tokens have about 400 bytes.
	maxBytes = 1024
	// remembered is how many tokens are cached, about 1 MiB. Signing a token takes 25 µs and verifying one 60
	// µs, as long as some requests.
	remembered = 2048
)

type claims struct {
	jwt.RegisteredClaims
	Role Role `json:"role,omitempty"`
}

// Signer signs the identity of callers.
type Signer struct {
	id     string
	key    ed25519.PrivateKey
	now    func() time.Time
	signed recent.Cache[subject, string]
	calls  map[string][]string // by service: the services that it calls on behalf of its callers
}

// subject is a caller and the service that it calls.
type subject struct {
	Caller
	service string
}

// ReadSigner reads the keys of the gateway from IDENTITY_KEYS. It reads from IDENTITY_AUDIENCES which
// services call other services on behalf of their callers: pairs such as greeter-service:user-service,
// separated by commas.
func ReadSigner(env *config.Env) *Signer {
	signer := config.Parsed(env, "IDENTITY_KEYS", ParseSigner)
	if signer != nil {
		signer.calls = config.ParsedOr(env, "IDENTITY_AUDIENCES", nil, parseAudiences)
	}
	return signer
}

func parseAudiences(raw string) (map[string][]string, error) {
	calls := map[string][]string{}
	for pair := range strings.SplitSeq(raw, ",") {
		service, called, found := strings.Cut(pair, ":")
		if !found || service == "" || called == "" {
			return nil, errors.New("must be pairs of services such as greeter-service:user-service, separated by commas")
		}
		calls[service] = append(calls[service], called)
	}
	return calls, nil
}

// ParseSigner reads keys in the form kid:base64url(seed), separated by commas. The first key signs; the
// others are for verifiers.
func ParseSigner(raw string) (*Signer, error) {
	first, _, _ := strings.Cut(raw, ",")
	id, seed, err := parseKey(first, ed25519.SeedSize)
	return &Signer{id: id, key: ed25519.NewKeyFromSeed(seed), now: time.Now, signed: recent.New[subject, string](remembered)}, err
}

// parseKey reads kid:base64url(key). It returns a key of the given size even if it fails.
func parseKey(raw string, size int) (id string, key []byte, err error) {
	id, encoded, _ := strings.Cut(strings.TrimSpace(raw), ":")
	key, err = base64.RawURLEncoding.DecodeString(encoded)
	if id == "" || err != nil || len(key) != size {
		return "", make([]byte, size), fmt.Errorf("must be kid:base64url(key), several separated by commas; a key has %d bytes", size)
	}
	return id, key, nil
}

// Sign returns a token that names the caller to a service, and to the services that it calls on behalf of the
// caller. A token of the gateway itself is for one service alone.
func (s *Signer) Sign(caller Caller, service string) (string, error) {
	now := s.now()
	if token, ok := s.signed.Get(subject{caller, service}, now); ok {
		return token, nil
	}
	signed, err := s.SignFor(caller, service, life)
	if err == nil {
		s.signed.Put(subject{caller, service}, signed, now.Add(life/2))
	}
	return signed, err
}

// SignFor returns a token that is valid for life. The token isn't cached.
func (s *Signer) SignFor(caller Caller, service string, life time.Duration) (string, error) {
	now, audience := s.now(), jwt.ClaimStrings{service}
	if caller.Role != Gateway { // no service acts for the gateway itself, which may start sessions
		audience = append(audience, s.calls[service]...)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: audience, Subject: caller.UserID,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		},
		Role: caller.Role,
	})
	token.Header["kid"], token.Header["typ"] = s.id, tokenType
	signed, err := token.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("signing an identity: %w", err)
	}
	return signed, nil
}

// Verifier verifies the tokens that a service receives.
type Verifier struct {
	service  string
	keys     map[string]ed25519.PublicKey
	now      func() time.Time
	parser   *jwt.Parser
	verified recent.Cache[string, Caller]
}

// ReadVerifier reads the public keys of the gateway from IDENTITY_PUBLIC_KEYS.
func ReadVerifier(env *config.Env, service string) *Verifier {
	return newVerifier(service, config.Parsed(env, "IDENTITY_PUBLIC_KEYS", parsePublicKeys), time.Now)
}

func parsePublicKeys(raw string) (map[string]ed25519.PublicKey, error) {
	keys := map[string]ed25519.PublicKey{}
	for part := range strings.SplitSeq(raw, ",") {
		id, key, err := parseKey(part, ed25519.PublicKeySize)
		if err != nil {
			return nil, err
		}
		if keys[id] != nil {
			return nil, fmt.Errorf("has the kid %q twice", id)
		}
		keys[id] = key
	}
	return keys, nil
}

func newVerifier(service string, keys map[string]ed25519.PublicKey, now func() time.Time) *Verifier {
	return &Verifier{
		service: service, keys: keys, now: now, verified: recent.New[string, Caller](remembered),
		parser: NewParser(issuer, service, now, jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()})),
	}
}

// NewParser returns a strict parser of tokens that an issuer has signed for an audience.
func NewParser(issuer, audience string, now func() time.Time, more ...jwt.ParserOption) *jwt.Parser {
	return jwt.NewParser(append(more, jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(Leeway), jwt.WithStrictDecoding(), jwt.WithTimeFunc(now))...)
}

// Verify returns the caller that a token names.
func (v *Verifier) Verify(raw string) (Caller, error) {
	if len(raw) > maxBytes {
		return Caller{}, fmt.Errorf("the identity has %d bytes, the limit is %d", len(raw), maxBytes)
	}
	if caller, ok := v.verified.Get(raw, v.now()); ok {
		return caller, nil
	}
	var c claims
	if _, err := v.parser.ParseWithClaims(raw, &c, v.key); err != nil {
		return Caller{}, fmt.Errorf("verifying an identity: %w", err)
	}
	caller := Caller{UserID: c.Subject, Role: c.Role}
	_, isID := resourceid.Parse(c.Subject)
	if user := c.Role.Valid() && isID; !user && caller != (Caller{Role: Gateway}) && caller != (Caller{}) {
		return Caller{}, errors.New("the identity names neither a user, nor the gateway, nor an anonymous caller")
	}
	v.verified.Put(strings.Clone(raw), caller, c.ExpiresAt.Add(Leeway))
	return caller, nil
}

func (v *Verifier) key(t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	key, known := v.keys[kid]
	if t.Header["typ"] != tokenType || !known {
		return nil, errors.New("the token is not an identity, or its key is unknown")
	}
	return key, nil
}

// Require returns a middleware that requires exactly one valid identity and puts the caller into the
// request's context. It responds with 401 to other requests. /health doesn't pass through it: probes carry no
// identity.
func (v *Verifier) Require(errs *problem.Mapper) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return errs.Handle(func(w http.ResponseWriter, r *http.Request) error {
			caller, err := v.callerOf(r)
			if err != nil {
				return problem.New(problem.Unauthenticated, "This service accepts requests from the gateway only.", err)
			}
			next.ServeHTTP(w, r.WithContext(With(r.Context(), caller)))
			return nil
		})
	}
}

func (v *Verifier) callerOf(r *http.Request) (Caller, error) {
	tokens := r.Header[Header]
	if len(tokens) != 1 {
		return Caller{}, fmt.Errorf("the request carries %d identities", len(tokens))
	}
	return v.Verify(tokens[0])
}
