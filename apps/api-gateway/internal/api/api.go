// Package api is the public HTTP API: its paths, who may use them, and the service of each.
package api

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"platform.example/apps/api-gateway/internal/clientaddr"
	"platform.example/apps/api-gateway/internal/limit"
	"platform.example/apps/api-gateway/internal/provider"
	"platform.example/apps/api-gateway/internal/session"
	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/resourceid"
	"platform.example/apps/internal/telemetry"
)

// API handles the requests. All fields except Provider are required.
type API struct {
	Tokens   *token.Authority
	Sessions *session.Sessions
	Provider *provider.Provider
	Proxies  clientaddr.Proxies

	Users, Orders, Notifications *upstream.Service

	// For IPv6, the limits per address count the client's network.
	Requests *limit.Limit // per user, or per address of a client that hasn't signed in
	Accounts *limit.Limit // failed sign-ins per account
	Sources  *limit.Limit // failed sign-ins per address
	Exports  *limit.Limit // exports per user: one export sends many requests to the services
}

// access states who may use a route.
type access int

const (
	anyone   access = iota // without a token; the caller is anonymous
	signedIn               // the service decides what the caller may access
	themself               // the user in the path, which may be "me", or an admin
	proven                 // the same, with their password: wrong passwords are limited as at sign-in
	admins
)

// route is a path of the API and its service. The service has the same path without /api.
type route struct {
	method, pattern string
	service         *upstream.Service
	access          access
}

// keyed is the pattern whose POST uses the Idempotency-Key; other routes ignore the header.
const keyed = "/api/orders"

// routes lists every public path of the services.
func (a *API) routes() []route {
	return []route{
		{http.MethodPost, "/api/users", a.Users, anyone},
		{http.MethodGet, "/api/users", a.Users, admins},
		{http.MethodGet, "/api/users/{id}", a.Users, themself},
		{http.MethodPatch, "/api/users/{id}", a.Users, proven},
		{http.MethodDelete, "/api/users/{id}", a.Users, proven},

		{http.MethodPost, "/api/users/{id}/confirmation", a.Users, themself},
		{http.MethodPost, "/api/auth/email", a.Users, anyone},
		{http.MethodPost, "/api/auth/password-reset", a.Users, anyone},
		{http.MethodPost, "/api/auth/password", a.Users, anyone},

		{http.MethodGet, "/api/users/{id}/sessions", a.Users, themself},
		{http.MethodDelete, "/api/users/{id}/sessions", a.Users, themself},
		{http.MethodDelete, "/api/users/{id}/sessions/{session}", a.Users, themself},
		{http.MethodGet, "/api/audit", a.Users, admins},
		{http.MethodPost, keyed, a.Orders, signedIn},
		{http.MethodGet, keyed, a.Orders, signedIn},
		{http.MethodGet, "/api/orders/{id}", a.Orders, signedIn},
		{http.MethodPost, "/api/orders/{id}/cancel", a.Orders, signedIn},
		{http.MethodPost, "/api/orders/{id}/pay", a.Orders, admins},
		{http.MethodPost, "/api/orders/{id}/ship", a.Orders, admins},
		{http.MethodPost, "/api/orders/{id}/deliver", a.Orders, admins},

		{http.MethodGet, "/api/notifications", a.Notifications, signedIn},
		{http.MethodPost, "/api/notifications/read", a.Notifications, signedIn},
		{http.MethodPost, "/api/notifications/{id}/read", a.Notifications, signedIn},
	}
}

// Register adds the routes to router.
func (a *API) Register(router chi.Router, errs *problem.Mapper) {
	router.Post("/api/auth/token", errs.Handle(a.signIn))
	router.Post("/api/auth/oidc", errs.Handle(a.signInByProvider))
	router.Post("/api/auth/refresh", errs.Handle(a.refresh))
	router.Post("/api/auth/revoke", errs.Handle(a.revoke))
	router.Get("/api/users/{id}/export", errs.Handle(a.export))
	router.Get("/.well-known/jwks.json", a.publicKeys)
	for _, route := range a.routes() {
		router.Method(route.method, route.pattern, errs.Handle(a.handle(route)))
	}
}

func (a *API) handle(route route) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		client := a.Proxies.Of(r)
		caller, err := a.admit(r, route.access, client)
		if err != nil {
			return err
		}
		path, err := a.path(r, route.pattern, route.access, caller)
		if err != nil {
			return err
		}
		to := upstream.Destination{
			Path: path, Caller: caller, Client: client, Scheme: a.Proxies.Scheme(r), Keyed: route.pattern == keyed,
		}
		if route.access != proven {
			return route.service.Forward(w, r, to)
		}
		if err := within(a.Accounts, caller.UserID); err != nil {
			return err
		}
		response := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		err = route.service.Forward(response, r, to)
		if response.Status() != http.StatusForbidden {
			a.Accounts.Undo(caller.UserID)
		}
		return err
	}
}

// admit returns the caller of a request that is within the limits and that may use the route.
func (a *API) admit(r *http.Request, access access, client string) (identity.Caller, error) {
	if access == anyone {
		return identity.Caller{}, within(a.Requests, clientaddr.NetworkOf(client))
	}
	caller, err := a.authenticate(r)
	if err != nil {
		if limited := within(a.Requests, clientaddr.NetworkOf(client)); limited != nil {
			return identity.Caller{}, limited
		}
		return identity.Caller{}, err
	}
	if err := within(a.Requests, caller.UserID); err != nil {
		return identity.Caller{}, err
	}
	if access == admins && caller.Role != identity.Admin {
		return identity.Caller{}, problem.New(problem.Forbidden, "Only an admin may do this.", nil)
	}
	return caller, nil
}

// path returns the path of the request at the service.
func (a *API) path(r *http.Request, pattern string, access access, caller identity.Caller) (string, error) {
	params := chi.RouteContext(r.Context()).URLParams
	path := strings.TrimPrefix(pattern, "/api")
	for i, name := range params.Keys {
		id := params.Values[i]
		own := name == "id" && (access == themself || access == proven)
		if own && id == "me" {
			id = caller.UserID
		} else if _, ok := resourceid.Parse(id); !ok { // only an id may become a part of the path
			return "", problem.New(problem.NotFound, "There is no resource with this id.", nil)
		}
		if own && id != caller.UserID && caller.Role != identity.Admin {
			return "", problem.New(problem.Forbidden, "You may access only your own user.", nil)
		}
		path = strings.Replace(path, "{"+name+"}", id, 1)
	}
	return path, nil
}

// authenticate returns the caller in the access token of the request.
func (a *API) authenticate(r *http.Request) (identity.Caller, error) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return identity.Caller{}, problem.New(problem.Unauthenticated, "Exactly one Authorization header with a bearer token is required.", nil)
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return identity.Caller{}, problem.New(problem.Unauthenticated, "The Authorization header must contain a bearer token.", nil)
	}
	holder, err := a.Tokens.Verify(raw)
	if err != nil {
		return identity.Caller{}, problem.New(problem.Unauthenticated, "The token is not valid or has expired.", err)
	}
	if a.Sessions.Revoked(holder.SessionID) {
		return identity.Caller{}, problem.New(problem.Unauthenticated, "The session has ended: sign in again.", nil)
	}
	return holder.Caller, nil
}

// within counts a request of a client. It fails with problem.TooManyRequests if the limit is reached.
func within(l *limit.Limit, client string) error {
	if ok, retryAfter := l.Take(client); !ok {
		return &problem.Error{
			Code: problem.TooManyRequests, Sentence: "Too many requests: try again later.",
			RetryAfter: retryAfter, Header: l.Header(retryAfter),
		}
	}
	return nil
}

// ServiceOf returns the service that handles a request. Sign-ins count for user-service, which checks the password.
func ServiceOf(r telemetry.Request) string {
	switch pattern := r.Pattern; {
	case strings.HasPrefix(pattern, "/api/users"), pattern == "/api/audit", strings.HasPrefix(pattern, "/api/auth"):
		return "user-service"
	case strings.HasPrefix(pattern, "/api/orders"):
		return "order-service"
	case strings.HasPrefix(pattern, "/api/notifications"):
		return "notification-service"
	}
	return "api-gateway"
}
