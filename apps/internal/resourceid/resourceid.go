// Package resourceid reads the ids by which clients name things.
package resourceid

import (
	"strings"

	"github.com/google/uuid"
)

// length is that of the form with dashes, which no other form has.
const length = 36

// Parse reads an id with dashes and in lower case. It refuses the other forms
// that uuid.Parse reads, so that a resource has one path. It allocates nothing.
func Parse(raw string) (uuid.UUID, bool) {
	id, err := uuid.Parse(raw)
	return id, err == nil && len(raw) == length && strings.ToLower(raw) == raw
}
