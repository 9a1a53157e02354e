// Package user says what a user is and what makes one valid.
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

// User is a user as others may see them.
type User struct {
	ID        uuid.UUID     `json:"id"`
	Email     string        `json:"email"`
	Name      string        `json:"name"`
	Role      identity.Role `json:"role"`
	CreatedAt time.Time     `json:"created_at"`
	UpdatedAt time.Time     `json:"updated_at"`
	Version   int64         `json:"version"` // grows with every write
	// EmailConfirmed reports whether the user has shown that the email is theirs.
	EmailConfirmed bool `json:"email_confirmed"`
}

// Email is an address in the form that addresses are compared in.
type Email string

// UnmarshalText gives an address that form. It keeps one that has none, which
// Validate refuses beside the faults of other fields.
func (e *Email) UnmarshalText(address []byte) error {
	canonical, _ := text.CanonicalEmail(string(address))
	*e = Email(canonical)
	return nil
}

// Draft is a user to be.
type Draft struct {
	Email    Email         `json:"email"`
	Name     string        `json:"name"`
	Role     identity.Role `json:"role"` // "" means user
	Password string        `json:"password"`

	Issuer, Subject string `json:"-"` // by which an identity provider knows the user; "" for none
}

// Change is what is to change of a user; what is nil stays. A new email takes
// effect once it is confirmed. CurrentPassword is that of the user who asks for it.
type Change struct {
	Email    *Email         `json:"email"`
	Name     *string        `json:"name"`
	Role     *identity.Role `json:"role"`
	Password *string        `json:"password"`

	CurrentPassword string `json:"current_password"`

	Guard `json:"-"`
}

// Guard is what must still hold when a user is changed.
type Guard struct {
	Versions     []int64   // the user has one of them; nil: any
	Caller       uuid.UUID // who has shown a password: PasswordHash is still theirs; uuid.Nil: nobody had to
	PasswordHash string
}

// Named returns what c changes, as the audit log has it: never a value, but for the role.
func (c Change) Named() []string {
	var named []string
	for name, changes := range map[string]bool{"email": c.Email != nil, "name": c.Name != nil, "password": c.Password != nil} {
		if changes {
			named = append(named, name)
		}
	}
	if c.Role != nil {
		named = append(named, "role "+string(*c.Role))
	}
	slices.Sort(named)
	return named
}

const (
	maxEmailBytes = 254 // RFC 5321, 4.5.3.1.3: a path of 256 with its brackets
	maxNameRunes  = 100
	// NIST SP 800-63B: at least 8; longer than 64 must be allowed.
	minPasswordRunes = 8
	// MaxPasswordBytes bounds what is hashed.
	MaxPasswordBytes = 512
)

// Validate lists every fault of d in one error.
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

// External returns the draft of a user whom an identity provider vouches for. It has no role but user, and no password. It reports
// whether a user can have the email. A name that none can have is replaced by the email's local part.
func External(issuer, subject string, email Email, name string) (d Draft, ok bool) {
	var f, g faults
	if f.name(name); f.Err() != nil {
		name, _, _ = strings.Cut(string(email), "@")
	}
	g.name(name)
	g.email(email)
	return Draft{Email: email, Name: name, Role: identity.User, Issuer: issuer, Subject: subject}, g.Err() == nil
}

// Validate lists every fault of c in one error.
func (c Change) Validate() error {
	var f faults
	if c.Email == nil && c.Name == nil && c.Role == nil && c.Password == nil {
		f.Add("", "Nothing to change: give at least one of email, name, role, password.")
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

func (f *faults) email(given Email) {
	address := string(given)
	canonical, ok := text.CanonicalEmail(address)
	parsed, err := mail.ParseAddress(address)
	// ParseAddress also takes "Name <address>", which isn't an address alone.
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

func (f *faults) password(given string) {
	if utf8.RuneCountInString(password.Normalise(given)) < minPasswordRunes || len(given) > MaxPasswordBytes {
		f.Add("/password", "Must have at least 8 characters and at most 512 bytes.")
	}
}
