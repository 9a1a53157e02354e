// Package identity carries who is asking from the gateway, which has checked
// the token, to the services behind it. They believe these headers because
// only the gateway can reach them and because it strips what clients send.
package identity

import (
	"net/http"
	"strings"
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

const (
	prefix       = "X-User-"
	userIDHeader = prefix + "Id"
	roleHeader   = prefix + "Role"
)

// From returns the caller that the gateway named.
func From(h http.Header) Caller {
	return Caller{UserID: h.Get(userIDHeader), Role: Role(h.Get(roleHeader))}
}

// Set replaces every identity header in h, those sent by a client included.
func Set(h http.Header, c Caller) {
	for name := range h {
		if strings.HasPrefix(name, prefix) {
			delete(h, name)
		}
	}
	if c != (Caller{}) {
		h.Set(userIDHeader, c.UserID)
		h.Set(roleHeader, string(c.Role))
	}
}
