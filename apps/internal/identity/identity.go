// Package identity carries who is asking from the gateway, which has verified
// the access token, to the service that it calls: in a token of its own, signed
// by the gateway for this one service and short-lived. A service believes nothing
// else.
package identity

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/resourceid"
)

// Role says what a caller may do.
type Role string

// The roles there are.
const (
	User  Role = "user"  // reaches what is their own
	Admin Role = "admin" // reaches everything
	// Gateway is the gateway itself, on behalf of nobody: it begins and ends sessions.
	Gateway Role = "gateway"
)

// Valid reports whether r is the role of a user.
func (r Role) Valid() bool { return r == User || r == Admin }

// Caller is who is asking. The zero Caller hasn't signed in.
type Caller struct {
	UserID string `json:"user_id"`
	Role   Role   `json:"role"`
}

type callerKey struct{}

// With returns a context of requests by the caller.
func With(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// From returns the caller of a request.
func From(r *http.Request) Caller {
	caller, _ := r.Context().Value(callerKey{}).(Caller)
	return caller
}

// Someone is a caller who is signed in.
type Someone struct {
	ID   uuid.UUID
	Role Role
}

// SignedIn returns the caller of a request. It fails with problem.Unauthenticated
// where none has signed in.
func SignedIn(r *http.Request) (Someone, error) {
	caller := From(r)
	id, ok := resourceid.Parse(caller.UserID)
	if !ok || id == uuid.Nil || !caller.Role.Valid() {
		return Someone{}, problem.New(problem.Unauthenticated, "Sign in to do this.", nil)
	}
	return Someone{ID: id, Role: caller.Role}, nil
}

// Handler handles the requests of a client that has signed in.
type Handler func(http.ResponseWriter, *http.Request, Someone) error

// Signed wraps a handler: it rejects requests of clients that have not signed in, with problem.Unauthenticated.
func Signed(handle Handler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		user, err := SignedIn(r)
		if err != nil {
			return err
		}
		return handle(w, r, user)
	}
}

// Reach is whose resources they reach; uuid.Nil: everybody's.
func (s Someone) Reach() uuid.UUID {
	if s.Role == Admin {
		return uuid.Nil
	}
	return s.ID
}
