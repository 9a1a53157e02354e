// Package resourceid reads the ids by which clients name things.
package resourceid

import "github.com/google/uuid"

// Parse takes the form in which we write an id and no other of those that
// uuid.Parse takes: else a thing would have several paths.
func Parse(raw string) (uuid.UUID, bool) {
	id, err := uuid.Parse(raw)
	return id, err == nil && id.String() == raw
}
