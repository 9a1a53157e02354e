// Package provider verifies the ID tokens of an identity provider (OpenID Connect Core 1.0). It sends
// requests to the provider only at sign-ins: the gateway starts and becomes ready without it.
package provider

import (
	"context"
	"encoding/json"
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
	timeout          = 3 * time.Second // of a request to the provider
	maxResponseBytes = 64 << 10

	// RetryAfter is the time between the end of a failed discovery and the next one.
	RetryAfter = 2 * time.Second
)

// Provider is an identity provider.
type Provider struct {
	issuer, clientID string
	verifier         atomic.Pointer[oidc.IDTokenVerifier] // nil until the first successful discovery

	discoveries singleflight.Group
	failed      time.Time // time of the last failed discovery, and its cause; only discoveries use them
	cause       error
}

// Read reads a Provider from OIDC_ISSUER and OIDC_CLIENT_ID. It returns nil if both are unset.
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

// Identity contains the claims about a user in an ID token.
type Identity struct {
	Issuer        string `json:"iss"`
	Subject       string `json:"sub"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Name          string `json:"name"`
	// Claims are all claims of the token. They are the same in each form in which it verifies.
	Claims json.RawMessage `json:"-"`
}

// Verify returns the user of an ID token with this nonce. It fails with problem.Unauthenticated if the token
// is invalid, and with problem.Unavailable if the provider doesn't respond.
func (p *Provider) Verify(ctx context.Context, raw, nonce string) (user Identity, err error) {
	var token *oidc.IDToken
	verifier, err := p.discover(ctx)
	if err == nil {
		token, err = verifier.Verify(ctx, raw)
	}
	// go-oidc has no error type for keys that it can't fetch.
	if verifier == nil || err != nil && strings.HasPrefix(err.Error(), "failed to verify signature: fetching keys") {
		return user, &problem.Error{Code: problem.Unavailable, Sentence: "The identity provider is not available right now.", RetryAfter: RetryAfter, Cause: err}
	}
	if err == nil && token.Nonce != nonce {
		err = errors.New("the token has another nonce")
	}
	if err == nil {
		err = errors.Join(token.Claims(&user), token.Claims(&user.Claims))
	}
	if err != nil {
		return Identity{}, problem.New(problem.Unauthenticated, "The ID token is not valid or has expired.", err)
	}
	return user, nil
}

// discover returns the verifier of tokens, or nil if no discovery has succeeded. All callers share one
// discovery; each waits for it until its own ctx is done.
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
	client := &http.Client{Timeout: timeout, Transport: limitedTransport{}}
	found, err := oidc.NewProvider(oidc.ClientContext(context.Background(), client), p.issuer)
	if p.cause = err; err != nil {
		p.failed = time.Now()
	} else { // never accept none or HMAC (RFC 8725, 3.1)
		algorithms := []string{oidc.RS256, oidc.PS256, oidc.ES256, oidc.EdDSA}
		p.verifier.Store(found.Verifier(&oidc.Config{ClientID: p.clientID, SupportedSigningAlgs: algorithms}))
	}
	return nil, err
}

// limitedTransport limits the size of responses.
type limitedTransport struct{}

func (limitedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxResponseBytes)
	}
	return response, err
}
