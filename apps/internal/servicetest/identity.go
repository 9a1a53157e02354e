package servicetest

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
)

// The keys with which the gateway signs in tests, in base64url: all zeros, and what belongs to them.
const (
	seed   = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	public = "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"
)

// names is the service at each host that Start has started.
var names sync.Map

func init() { http.DefaultTransport = signing{http.DefaultTransport} }

// signing sends requests to services as the gateway does, which signs who is asking: whom X-User-Id and X-User-Role name, or else
// the user of the path, an admin who lists users, or the gateway itself.
type signing struct{ http.RoundTripper }

func (s signing) RoundTrip(r *http.Request) (*http.Response, error) {
	name, ok := names.Load(r.URL.Host)
	if !ok || name == "api-gateway" || r.Header.Get(identity.Header) != "" {
		return s.RoundTripper.RoundTrip(r)
	}
	const nobody = "0190f3a0-0000-7000-8000-0000000000ff"
	r = r.Clone(r.Context())
	caller := identity.Caller{UserID: r.Header.Get("X-User-Id"), Role: identity.Role(r.Header.Get("X-User-Role"))}
	id, user := strings.CutPrefix(r.URL.Path, "/users/")
	switch {
	case caller.UserID != "" && caller.Role == "":
		caller.Role = identity.User
	case caller.UserID != "":
	case r.URL.Path == "/users" && (caller.Role != "" || r.Method == http.MethodGet):
		caller = identity.Caller{UserID: nobody, Role: identity.Admin}
	case user && len(id) == len(nobody):
		caller = identity.Caller{UserID: strings.ToLower(id), Role: identity.User}
	case user:
		caller = identity.Caller{UserID: nobody, Role: identity.User}
	case caller.Role == "":
		caller.Role = identity.Gateway
	}
	signed, err := sign(name.(string), caller)
	if err != nil {
		return nil, err
	}
	r.Header.Set(identity.Header, signed)
	return s.RoundTripper.RoundTrip(r)
}

// CallerOf returns the caller that the gateway has signed for the service in a request to it.
func CallerOf(t testing.TB, r *http.Request, service string) identity.Caller {
	t.Helper()
	env := config.From(func(string) (string, bool) { return "test:" + public, true })
	caller, err := identity.ReadVerifier(env, service).Verify(r.Header.Get(identity.Header))
	if err := errors.Join(env.Err(), err); err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return caller
}

// Identity returns the header that names a caller to a service, and lasts for an hour: for clients that send it themselves.
func Identity(t testing.TB, service string, caller identity.Caller) string {
	t.Helper()
	return identity.Header + ": " + backingtest.Must[string](t)(sign(service, caller))
}

func sign(service string, caller identity.Caller) (string, error) {
	signer, err := identity.ParseSigner("test:" + seed)
	if err != nil {
		return "", err
	}
	return signer.SignFor(caller, service, time.Hour)
}

// Direct sends a request to a service with no identity but the one given: who is asking, as the gateway signs it for the service of
// that name. Without a name there is none.
func Direct(t testing.TB, method, url, body, service string, caller identity.Caller, headers ...string) Answer {
	t.Helper()
	signed := "none"
	if service != "" {
		signed = backingtest.Must[string](t)(sign(service, caller))
	}
	return Call(t, method, url, body, append(headers, identity.Header+": "+signed)...)
}
