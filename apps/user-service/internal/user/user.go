// Package user says what a user is and what makes one valid.
package user

import (
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
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
}

// Draft is a user to be.
type Draft struct {
	Email    string        `json:"email"`
	Name     string        `json:"name"`
	Role     identity.Role `json:"role"` // "" means user
	Password string        `json:"password"`
}

// Change is what is to change of a user; what is nil stays. CurrentPassword is
// that of the user who asks for it.
type Change struct {
	Email    *string        `json:"email"`
	Name     *string        `json:"name"`
	Role     *identity.Role `json:"role"`
	Password *string        `json:"password"`

	CurrentPassword string `json:"current_password"`
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
	return f.err()
}

// Validate lists every fault of c in one error.
func (c Change) Validate() error {
	var f faults
	if c.Email == nil && c.Name == nil && c.Role == nil && c.Password == nil {
		f.add("", "Nothing to change: give at least one of email, name, role, password.")
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
	return f.err()
}

type faults []problem.Field

func (f *faults) add(pointer, detail string) {
	*f = append(*f, problem.Field{Pointer: pointer, Detail: detail})
}

func (f *faults) err() error {
	if len(*f) == 0 {
		return nil
	}
	return &problem.Error{Code: problem.Invalid, Sentence: "Some fields are not valid.", Fields: *f}
}

func (f *faults) email(email string) {
	parsed, err := mail.ParseAddress(email)
	// ParseAddress also takes "Name <address>", which isn't an address alone.
	if err != nil || parsed.Address != email || len(email) > maxEmailBytes || strings.ContainsFunc(email, unicode.IsControl) {
		f.add("/email", "Must be an email address of at most 254 bytes.")
	}
}

func (f *faults) name(name string) {
	if n := utf8.RuneCountInString(name); n == 0 || n > maxNameRunes ||
		strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl) {
		f.add("/name", "Must have 1 to 100 characters, without control characters or spaces at its ends.")
	}
}

func (f *faults) role(role identity.Role) {
	if !role.Valid() {
		f.add("/role", "Must be user or admin.")
	}
}

func (f *faults) password(password string) {
	if utf8.RuneCountInString(password) < minPasswordRunes || len(password) > MaxPasswordBytes {
		f.add("/password", "Must have at least 8 characters and at most 512 bytes.")
	}
}
