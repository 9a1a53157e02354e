// Package api is the public HTTP API: which paths there are, who may use them
// and which service answers.
package api

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

// API handles the requests.
type API struct {
	tokens *token.Authority
	users  *upstream.Service
}

// New returns the API.
func New(tokens *token.Authority, users *upstream.Service) *API {
	return &API{tokens: tokens, users: users}
}

// Register adds the routes to router. Every path is named: nothing of a
// service is public unless it stands here.
func (a *API) Register(router chi.Router, errs *problem.Mapper) {
	router.Post("/api/auth/token", errs.Handle(a.signIn))
	router.Post("/api/users", errs.Handle(a.signUp))
	router.Get("/api/users", errs.Handle(a.listUsers))
	router.Get("/api/users/{id}", errs.Handle(a.oneUser))
	router.Patch("/api/users/{id}", errs.Handle(a.oneUser))
	router.Delete("/api/users/{id}", errs.Handle(a.oneUser))
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"` // seconds
}

func (a *API) signIn(w http.ResponseWriter, r *http.Request) error {
	type credentials struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}
	given, err := httpjson.Decode[credentials](r)
	if err != nil {
		return err
	}
	var known struct {
		ID   uuid.UUID     `json:"id"`
		Role identity.Role `json:"role"`
	}
	status, err := a.users.Post(r.Context(), "/credentials/verify", given, &known)
	if err != nil {
		return err
	}
	switch status {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return problem.New(problem.Unauthenticated, "Email or password is wrong.", nil)
	case http.StatusUnprocessableEntity:
		return problem.New(problem.Invalid, "email and password are required; a password has at most 512 bytes.", nil)
	default:
		return problem.New(problem.Unavailable, "Signing in is not available right now.", nil)
	}
	signed, err := a.tokens.Issue(identity.Caller{UserID: known.ID.String(), Role: known.Role})
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store") // RFC 6749, 5.1
	return httpjson.Write(w, http.StatusOK,
		tokenAnswer{AccessToken: signed, TokenType: "Bearer", ExpiresIn: int(token.Life.Seconds())})
}

// signUp is open to anyone, and for anyone it is the same: no role goes with
// the request, and only an admin's would let it choose one.
func (a *API) signUp(w http.ResponseWriter, r *http.Request) error {
	a.users.Forward(w, r, "/users", identity.Caller{})
	return nil
}

func (a *API) listUsers(w http.ResponseWriter, r *http.Request) error {
	caller, err := a.authenticate(r)
	if err != nil {
		return err
	}
	if caller.Role != identity.Admin {
		return problem.New(problem.Forbidden, "Only an admin may list users.", nil)
	}
	a.users.Forward(w, r, "/users", caller)
	return nil
}

func (a *API) oneUser(w http.ResponseWriter, r *http.Request) error {
	caller, err := a.authenticate(r)
	if err != nil {
		return err
	}
	id := chi.URLParam(r, "id")
	if id == "me" {
		id = caller.UserID
	}
	if id != caller.UserID && caller.Role != identity.Admin {
		return problem.New(problem.Forbidden, "You may reach only your own user.", nil)
	}
	// What is no id must not become part of a path.
	if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
		return problem.New(problem.NotFound, "There is no such user.", err)
	}
	a.users.Forward(w, r, "/users/"+id, caller)
	return nil
}

// authenticate returns who is asking, by the bearer token of the request.
func (a *API) authenticate(r *http.Request) (identity.Caller, error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return identity.Caller{}, problem.New(problem.Unauthenticated, "Exactly one Authorization header with a bearer token is needed.", nil)
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return identity.Caller{}, problem.New(problem.Unauthenticated, "The Authorization header must hold a bearer token.", nil)
	}
	caller, err := a.tokens.Verify(raw)
	if err != nil {
		return identity.Caller{}, problem.New(problem.Unauthenticated, "The token is not valid or has expired.", err)
	}
	return caller, nil
}
