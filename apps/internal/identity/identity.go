// Package identity carries who is asking from the gateway, which has checked
// the token, to the services behind it. They believe these headers because
// only the gateway can reach them and because it strips what clients send.
package identity

import "net/http"

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
