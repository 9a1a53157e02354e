// Package identity carries who is asking from the gateway, which has checked
// the token, to the services behind it. They believe these headers because
// only the gateway can reach them and because it strips what clients send.
package identity

import (
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/resourceid"
)

// Role says what someone may do.
type Role string

// The roles there are.
const (
	User  Role = "user"  // reaches what is their own
	Admin Role = "admin" // reaches everything
)

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return r == User || r == Admin }

// Caller is who is asking; the zero Caller is nobody.
type Caller struct {
	UserID string
	Role   Role
}

// The headers that carry it. What begins with Prefix is never taken from a client.
const (
	Prefix       = "X-User-"
	UserIDHeader = Prefix + "Id"
	RoleHeader   = Prefix + "Role"
)

// From returns the caller that the gateway named.
func From(h http.Header) Caller {
	return Caller{UserID: h.Get(UserIDHeader), Role: Role(h.Get(RoleHeader))}
}

// Header returns the headers by which From knows the caller.
func (c Caller) Header() http.Header {
	return http.Header{UserIDHeader: {c.UserID}, RoleHeader: {string(c.Role)}}
}

// Someone is a caller who is signed in.
type Someone struct {
	ID   uuid.UUID
	Role Role
}

// SignedIn returns the caller that the gateway named. It fails with
// problem.Unauthenticated where there is none.
func SignedIn(h http.Header) (Someone, error) {
	named := From(h)
	id, ok := resourceid.Parse(named.UserID)
	if !ok || id == uuid.Nil {
		return Someone{}, problem.New(problem.Unauthenticated, "Sign in to do this.", nil)
	}
	return Someone{ID: id, Role: named.Role}, nil
}

// Reach is whose things they reach; uuid.Nil: anybody's.
func (s Someone) Reach() uuid.UUID {
	if s.Role == Admin {
		return uuid.Nil
	}
	return s.ID
}
