package servicetest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"platform.example/apps/internal/identity"
)

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
	const other = "0190f3a0-0000-7000-8000-0000000000aa"
	listed := map[string]bool{}
	for _, a := range list {
		listed[a.Route] = true
		method, path, _ := strings.Cut(a.Route, " ")
		if a.Path != "" {
			path = a.Path
		}
		for _, c := range []struct {
			name    string
			service string
			caller  identity.Caller
			headers []string
			want    int
		}{
			{"without an identity", "", identity.Caller{}, nil, http.StatusUnauthorized},
			{"by plain headers", "", identity.Caller{}, []string{"X-User-Id: " + owner, "X-User-Role: admin"}, http.StatusUnauthorized},
			{"with an admin's identity for another service", "another-service", identity.Caller{UserID: admin, Role: identity.Admin}, nil, http.StatusUnauthorized},
			{"with an unknown role", service, identity.Caller{UserID: owner, Role: "root"}, nil, http.StatusUnauthorized},
			{"anonymously", service, identity.Caller{}, nil, a.Anonymous},
			{"as the gateway", service, identity.Caller{Role: identity.Gateway}, nil, a.Gateway},
			{"as another user", service, identity.Caller{UserID: other, Role: identity.User}, nil, a.Other},
			{"as the owner", service, identity.Caller{UserID: owner, Role: identity.User}, nil, a.Owner},
			{"as an admin", service, identity.Caller{UserID: admin, Role: identity.Admin}, nil, a.Admin},
		} {
			if response := Direct(t, method, base+path, a.Body, c.service, c.caller, c.headers...); response.Status != c.want {
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
