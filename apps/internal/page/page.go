// Package page reads lists in pages by the id of the last item of the previous page (keyset pagination):
// every page costs the same.
package page

import (
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/resourceid"
)

const (
	defaultLimit = 50
	maxLimit     = 100
)

// request selects a page of a list.
type request struct {
	limit int       // maximum number of items
	after uuid.UUID // the id of the item before the first one
}

// parse parses limit and after of a query. first is the default of after.
func parse(query url.Values, first uuid.UUID) (request, error) {
	r := request{defaultLimit, first}
	if raw := query.Get("limit"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxLimit {
			return r, problem.New(problem.Malformed, "limit must be a number from 1 to 100.", err)
		}
		r.limit = n
	}
	if raw := query.Get("after"); raw != "" {
		id, ok := resourceid.Parse(raw)
		if !ok {
			return r, problem.New(problem.Malformed, "after must be the next of a previous page.", nil)
		}
		r.after = id
	}
	return r, nil
}

// Read returns the page of a list that limit and after of a query select, and the value of after for the next
// page, or nil for the last page. fetch returns up to limit items after an id. first is the id before the
// first item of the list.
func Read[T any](query url.Values, first uuid.UUID, id func(T) uuid.UUID, fetch func(after uuid.UUID, limit int) ([]T, error)) ([]T, *uuid.UUID, error) {
	r, err := parse(query, first)
	if err != nil {
		return nil, nil, err
	}
	fetched, err := fetch(r.after, r.limit+1) // one more, to detect a next page
	if err != nil || len(fetched) <= r.limit {
		return fetched, nil, err
	}
	last := id(fetched[r.limit-1])
	return fetched[:r.limit], &last, nil
}
