// Package resourceid reads the ids by which clients name things.
package resourceid

import (
	"strings"

	"github.com/google/uuid"
)

// length is that of the form with dashes, which no other form has.
const length = 36

// Parse takes the form in which we write an id, with dashes and in lower case,
// and no other of those that uuid.Parse takes: else a thing would have several
// paths. It allocates nothing.
func Parse(raw string) (uuid.UUID, bool) {
	id, err := uuid.Parse(raw)
	return id, err == nil && len(raw) == length && strings.ToLower(raw) == raw
}
