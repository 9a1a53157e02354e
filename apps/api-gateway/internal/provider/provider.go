// Package provider verifies the ID tokens of an identity provider (OpenID
// Connect Core 1.0). It asks the provider at sign-ins only: the gateway starts,
// and is ready, without it.
package provider

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/sync/singleflight"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/problem"
)

const (
	timeout        = 3 * time.Second // of a request to the provider
	maxAnswerBytes = 64 << 10

	// RetryAfter is the time between the end of a failed discovery and the next one.
	RetryAfter = 2 * time.Second
)

// Provider is an identity provider.
type Provider struct {
	issuer, clientID string
	verifier         atomic.Pointer[oidc.IDTokenVerifier] // nil until the provider has answered

	discoveries singleflight.Group
	failed      time.Time // time of the last failed discovery, and its cause: only a discovery uses them
	cause       error
}

// Read reads a Provider: both variables, or neither and there is none.
func Read(env *config.Env) *Provider {
	const issuer, clientID = "OIDC_ISSUER", "OIDC_CLIENT_ID"
	p := &Provider{issuer: config.ParsedOr(env, issuer, "", config.String), clientID: config.ParsedOr(env, clientID, "", config.String)}
	if p.issuer+p.clientID == "" {
		return nil
	}
	config.Parsed(env, issuer, config.HTTPURL)
	config.Parsed(env, clientID, config.String)
	return p
}

// Identity is who a token is about, in the words of its claims.
type Identity struct {
	Issuer        string `json:"iss"`
	Subject       string `json:"sub"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Name          string `json:"name"`
}

// Verify returns who an ID token with this nonce is about. It fails with
// problem.Unauthenticated where the token isn't good, and with
// problem.Unavailable where the provider doesn't answer.
func (p *Provider) Verify(ctx context.Context, raw, nonce string) (who Identity, err error) {
	var token *oidc.IDToken
	verifier, err := p.discover(ctx)
	if err == nil {
		token, err = verifier.Verify(ctx, raw)
	}
	// go-oidc has no type for keys that it can't fetch.
	if verifier == nil || err != nil && strings.HasPrefix(err.Error(), "failed to verify signature: fetching keys") {
		return who, &problem.Error{Code: problem.Unavailable, Sentence: "The identity provider is not available right now.", RetryAfter: RetryAfter, Cause: err}
	}
	if err == nil && token.Nonce != nonce {
		err = errors.New("it has another nonce")
	}
	if err == nil {
		err = token.Claims(&who)
	}
	if err != nil {
		return Identity{}, problem.New(problem.Unauthenticated, "The ID token is not valid or has expired.", err)
	}
	return who, nil
}

// discover returns the verifier of tokens; nil if the provider has never answered. All callers share one discovery; each
// waits for it until its own ctx is done.
func (p *Provider) discover(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	if known := p.verifier.Load(); known != nil {
		return known, nil
	}
	select {
	case ended := <-p.discoveries.DoChan("", p.configure):
		return p.verifier.Load(), ended.Err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// configure requests the provider's configuration, unless it is known or the last request has just failed.
func (p *Provider) configure() (any, error) {
	if p.verifier.Load() != nil || time.Since(p.failed) < RetryAfter {
		return nil, p.cause
	}
	client := &http.Client{Timeout: timeout, Transport: bounded{}}
	found, err := oidc.NewProvider(oidc.ClientContext(context.Background(), client), p.issuer)
	if p.cause = err; err != nil {
		p.failed = time.Now()
	} else { // neither none nor HMAC is accepted, whatever the provider says (RFC 8725, 3.1)
		algorithms := []string{oidc.RS256, oidc.PS256, oidc.ES256, oidc.EdDSA}
		p.verifier.Store(found.Verifier(&oidc.Config{ClientID: p.clientID, SupportedSigningAlgs: algorithms}))
	}
	return nil, err
}

// bounded bounds the bodies of answers.
type bounded struct{}

func (bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxAnswerBytes)
	}
	return response, err
}
