// Package page is how lists are given in parts: by the id of the last thing of
// the part before (keyset), so that the hundredth part costs what the first does.
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

// Request is which part of a list is asked for.
type Request struct {
	Limit int        // at most so many
	After *uuid.UUID // those after this one, in the order of the list; nil: from the first
}

// Parse reads limit and after of a query.
func Parse(query url.Values) (Request, error) {
	r := Request{Limit: defaultLimit}
	if raw := query.Get("limit"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxLimit {
			return Request{}, problem.New(problem.Malformed, "limit must be a number from 1 to 100.", err)
		}
		r.Limit = n
	}
	if raw := query.Get("after"); raw != "" {
		id, ok := resourceid.Parse(raw)
		if !ok {
			return Request{}, problem.New(problem.Malformed, "after must be the next of an earlier page.", nil)
		}
		r.After = &id
	}
	return r, nil
}

// AfterOr is After, or first where it is nil.
func (r Request) AfterOr(first uuid.UUID) uuid.UUID {
	if r.After == nil {
		return first
	}
	return *r.After
}

// Fetch is how many to read: one more than asked for tells whether there is a
// next page.
func (r Request) Fetch() int { return r.Limit + 1 }

// Cut returns what of the fetched things is shown, and what to give as after to
// get the next page: nil, where this is the last.
func Cut[T any](r Request, fetched []T, id func(T) uuid.UUID) (shown []T, next *uuid.UUID) {
	if len(fetched) <= r.Limit {
		return fetched, nil
	}
	last := id(fetched[r.Limit-1])
	return fetched[:r.Limit], &last
}
