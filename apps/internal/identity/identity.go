// Package identity carries the identity of a caller from the gateway, which has verified the access token, to
// a service. The gateway signs a short-lived token for that one service. Services trust no other source.
package identity

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/problem"
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

// SignedIn returns the signed-in caller of a request. Without one it fails with problem.Unauthenticated.
func SignedIn(r *http.Request) (Principal, error) {
	caller := From(r)
	id, ok := resourceid.Parse(caller.UserID)
	if !ok || id == uuid.Nil || !caller.Role.Valid() {
		return Principal{}, problem.New(problem.Unauthenticated, "Sign in to do this.", nil)
	}
	return Principal{ID: id, Role: caller.Role}, nil
}

// Handler handles the request of a caller who has signed in.
type Handler func(http.ResponseWriter, *http.Request, Principal) error

// RequireUser returns a handler that calls handle for signed-in callers. It fails with
// problem.Unauthenticated for others.
func RequireUser(handle Handler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		user, err := SignedIn(r)
		if err != nil {
			return err
		}
		return handle(w, r, user)
	}
}

// Scope returns the user whose resources p may access; uuid.Nil means the resources of all users.
func (p Principal) Scope() uuid.UUID {
	if p.Role == Admin {
		return uuid.Nil
	}
	return p.ID
}
