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

// parse returns limit, the maximum number of items, and after, the id of the item before the first one. first
// is the default of after.
func parse(query url.Values, first uuid.UUID) (limit int, after uuid.UUID, err error) {
	limit, after = defaultLimit, first
	if raw := query.Get("limit"); raw != "" {
		if limit, err = strconv.Atoi(raw); err != nil || limit < 1 || limit > maxLimit {
			return 0, after, problem.New(problem.Malformed, "limit must be a number from 1 to 100.", err)
		}
	}
	if raw := query.Get("after"); raw != "" {
		var ok bool
		if after, ok = resourceid.Parse(raw); !ok {
			return 0, after, problem.New(problem.Malformed, "after must be the next of a previous page.", nil)
		}
	}
	return limit, after, nil
}

// Read returns the page of a list that limit and after of a query select, and the value of after for the next
// page, or nil for the last page. fetch returns up to limit items after an id. first is the id before the
// first item of the list.
func Read[T any](query url.Values, first uuid.UUID, id func(T) uuid.UUID, fetch func(after uuid.UUID, limit int) ([]T, error)) ([]T, *uuid.UUID, error) {
	limit, after, err := parse(query, first)
	if err != nil {
		return nil, nil, err
	}
	fetched, err := fetch(after, limit+1) // one more, to detect a next page
	if err != nil || len(fetched) <= limit {
		return fetched, nil, err
	}
	last := id(fetched[limit-1])
	return fetched[:limit], &last, nil
}
