package servicetest

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
)

// The seed of the gateway's key in tests, all zeros, and its public key, in base64url.
const (
	seed   = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	public = "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"
)

// names maps the host of each running service to its name.
var names sync.Map

func init() {
	http.DefaultTransport.(*http.Transport).DisableCompression = true // the tests themselves choose Accept-Encoding
	http.DefaultTransport = signing{http.DefaultTransport}
}

// signing adds an identity to requests to services, as the gateway does: the caller that X-User-Id and
// X-User-Role name, or else the user in the path, an admin for a list of users, or the gateway itself.
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

// CallerOf returns the caller in the identity that the gateway has signed for the service.
func CallerOf(t testing.TB, r *http.Request, service string) identity.Caller {
	t.Helper()
	env := config.From(func(string) (string, bool) { return "test:" + public, true })
	caller, err := identity.ReadVerifier(env, service).Verify(r.Header.Get(identity.Header))
	if err := errors.Join(env.Err(), err); err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return caller
}

// Identity returns the header with a caller's identity for a service, valid for an hour.
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

// Access states the status of a route for each caller.
type Access struct {
	Route      string // such as GET /orders/{id}
	Path, Body string // of the request; an empty Path means the path of the route
	Anonymous  int    // a client that hasn't signed in, through the gateway
	Gateway    int    // the gateway itself
	Other      int    // another user
	Owner      int
	Admin      int
}

// CheckAccess sends each route's request to a service directly, without the gateway, as every caller in turn.
// It fails the test for a route of the router that isn't listed. Requests without a valid identity for the
// service must get 401.
func CheckAccess(t *testing.T, service, base string, router chi.Routes, owner, admin string, list []Access) {
	t.Helper()
	const other, none = "0190f3a0-0000-7000-8000-0000000000aa", identity.Header + ": none"
	listed := map[string]bool{}
	for _, a := range list {
		listed[a.Route] = true
		method, path, _ := strings.Cut(a.Route, " ")
		if a.Path != "" {
			path = a.Path
		}
		as := func(caller identity.Caller) []string { return []string{Identity(t, service, caller)} }
		elsewhere := Identity(t, "another-service", identity.Caller{UserID: admin, Role: identity.Admin})
		for _, c := range []struct {
			name    string
			headers []string
			want    int
		}{
			{"without an identity", []string{none}, http.StatusUnauthorized},
			{"by plain headers", []string{none, "X-User-Id: " + owner, "X-User-Role: admin"}, http.StatusUnauthorized},
			{"with an admin's identity for another service", []string{elsewhere}, http.StatusUnauthorized},
			{"with an unknown role", as(identity.Caller{UserID: owner, Role: "root"}), http.StatusUnauthorized},
			{"anonymously", as(identity.Caller{}), a.Anonymous},
			{"as the gateway", as(identity.Caller{Role: identity.Gateway}), a.Gateway},
			{"as another user", as(identity.Caller{UserID: other, Role: identity.User}), a.Other},
			{"as the owner", as(identity.Caller{UserID: owner, Role: identity.User}), a.Owner},
			{"as an admin", as(identity.Caller{UserID: admin, Role: identity.Admin}), a.Admin},
		} {
			if response := Call(t, method, base+path, a.Body, c.headers...); response.Status != c.want {
				t.Errorf("%s %s: %d, want %d: %s", a.Route, c.name, response.Status, c.want, response.Body)
			}
		}
	}
	err := chi.Walk(router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if !listed[method+" "+route] {
			t.Errorf("%s %s isn't listed", method, route)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
