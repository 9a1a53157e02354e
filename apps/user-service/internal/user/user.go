// Package user defines users and validates them.
package user

import (
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/text"
	"platform.example/apps/user-service/internal/password"
)

// User is a user as clients see it.
type User struct {
	ID        uuid.UUID     `json:"id"`
	Email     string        `json:"email"`
	Name      string        `json:"name"`
	Role      identity.Role `json:"role"`
	CreatedAt time.Time     `json:"created_at"`
	UpdatedAt time.Time     `json:"updated_at"`
	Version   int64         `json:"version"` // grows with every write
	// EmailConfirmed reports whether the user has confirmed that they own the email.
	EmailConfirmed bool `json:"email_confirmed"`
}

// Email is an email address in canonical form.
type Email string

// UnmarshalText converts an address to its canonical form. It keeps an address without one: Validate refuses
// it, together with the faults of other fields.
func (e *Email) UnmarshalText(address []byte) error {
	canonical, _ := text.CanonicalEmail(string(address))
	*e = Email(canonical)
	return nil
}

// Draft is a user to create.
type Draft struct {
	Email    Email         `json:"email"`
	Name     string        `json:"name"`
	Role     identity.Role `json:"role"` // "" means user
	Password string        `json:"password"`

	Issuer, Subject string `json:"-"` // the user's identity at an identity provider; "" without one
}

// Change states which fields of a user to change; nil fields stay. A new email takes effect once it is
// confirmed. CurrentPassword is the password of the caller.
type Change struct {
	Email    *Email         `json:"email"`
	Name     *string        `json:"name"`
	Role     *identity.Role `json:"role"`
	Password *string        `json:"password"`

	CurrentPassword string `json:"current_password"`

	Guard `json:"-"`
}

// Guard states the conditions under which a user may be changed.
type Guard struct {
	Versions     []int64   // the user's version must be one of these; nil allows any
	Caller       uuid.UUID // PasswordHash and Role must still be this user's; uuid.Nil means no condition
	PasswordHash string
	Role         identity.Role
}

// FieldNames returns the changed fields for the audit log, without values except the role.
func (c Change) FieldNames() []string {
	var names []string
	for name, changes := range map[string]bool{"email": c.Email != nil, "name": c.Name != nil, "password": c.Password != nil} {
		if changes {
			names = append(names, name)
		}
	}
	if c.Role != nil {
		names = append(names, "role "+string(*c.Role))
	}
	slices.Sort(names)
	return names
}

const (
	maxEmailBytes = 254 // RFC 5321, 4.5.3.1.3: a path of 256 with its brackets
	maxNameRunes  = 100
	// NIST SP 800-63B: at least 8; longer than 64 must be allowed.
	minPasswordRunes = 8
	// MaxPasswordBytes limits the input of the hash.
	MaxPasswordBytes = 512
)

// Validate returns one error with all faults of d.
func (d Draft) Validate() error {
	var f faults
	f.email(d.Email)
	f.name(d.Name)
	if d.Role != "" {
		f.role(d.Role)
	}
	f.password(d.Password)
	return f.Err()
}

// External returns the draft of a user of an identity provider, with the role user and no password. It
// reports whether the email is valid for a user. An invalid name is replaced by the local part of the email.
func External(issuer, subject string, email Email, name string) (d Draft, ok bool) {
	var f, g faults
	if f.name(name); f.Err() != nil {
		name, _, _ = strings.Cut(string(email), "@")
	}
	g.name(name)
	g.email(email)
	return Draft{Email: email, Name: name, Role: identity.User, Issuer: issuer, Subject: subject}, g.Err() == nil
}

// Validate returns one error with all faults of c.
func (c Change) Validate() error {
	var f faults
	if c.Email == nil && c.Name == nil && c.Role == nil && c.Password == nil {
		f.Add("", "Nothing to change: set at least one of email, name, role, password.")
	}
	if c.Email != nil {
		f.email(*c.Email)
	}
	if c.Name != nil {
		f.name(*c.Name)
	}
	if c.Role != nil {
		f.role(*c.Role)
	}
	if c.Password != nil {
		f.password(*c.Password)
	}
	return f.Err()
}

type faults struct{ problem.Faults }

func (f *faults) email(email Email) {
	address := string(email)
	canonical, ok := text.CanonicalEmail(address)
	parsed, err := mail.ParseAddress(address)
	// ParseAddress also accepts "Name <address>".
	if err != nil || parsed.Address != address || !ok || canonical != address || len(address) > maxEmailBytes {
		f.Add("/email", "Must be an email address of at most 254 bytes, without invisible characters or look-alikes of ASCII.")
	}
}

func (f *faults) name(name string) {
	visible := func(r rune) bool { return unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) }
	if utf8.RuneCountInString(name) > maxNameRunes || strings.TrimSpace(name) != name ||
		strings.ContainsFunc(name, text.Invisible) || !strings.ContainsFunc(name, visible) {
		f.Add("/name", "Must have 1 to 100 characters, without control or invisible characters, or spaces at its ends.")
	}
}

func (f *faults) role(role identity.Role) {
	if !role.Valid() {
		f.Add("/role", "Must be user or admin.")
	}
}

func (f *faults) password(text string) {
	if utf8.RuneCountInString(password.Normalise(text)) < minPasswordRunes || len(text) > MaxPasswordBytes {
		f.Add("/password", "Must have at least 8 characters and at most 512 bytes.")
	}
}
