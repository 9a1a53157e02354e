// Package resourceid parses the ids of resources in requests.
package resourceid

import (
	"strings"

	"github.com/google/uuid"
)

// length is the length of the form with dashes. No other form has it.
const length = 36

// Parse parses a UUID with dashes and in lower case. It refuses the other forms that uuid.Parse accepts, so
// that a resource has one path. It allocates nothing.
func Parse(raw string) (uuid.UUID, bool) {
	id, err := uuid.Parse(raw)
	return id, err == nil && len(raw) == length && strings.ToLower(raw) == raw
}
