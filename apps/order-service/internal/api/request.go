package api

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

const (
	defaultLimit = 50
	maxLimit     = 100
	maxKeyBytes  = 255
)

// who is the user that a request is made by.
type who struct {
	id   uuid.UUID
	role identity.Role
}

// reach is whose orders they reach; uuid.Nil: anybody's.
func (u who) reach() uuid.UUID {
	if u.role == identity.Admin {
		return uuid.Nil
	}
	return u.id
}

// caller is who asks: every order is somebody's.
func caller(r *http.Request) (who, error) {
	named := identity.From(r.Header)
	id, ok := parseID(named.UserID)
	if !ok || id == uuid.Nil {
		return who{}, problem.New(problem.Unauthenticated, "Sign in to reach orders.", nil)
	}
	return who{id: id, role: named.Role}, nil
}

// idempotencyKey reads the one header that must be there.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) != 1 || !isKey(values[0]) {
		return "", problem.New(problem.Malformed,
			"The header Idempotency-Key must be there once, with 1 to 255 visible ASCII characters.", nil)
	}
	return values[0], nil
}

func isKey(key string) bool {
	if key == "" || len(key) > maxKeyBytes {
		return false
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}

// query is which orders a list is asked for.
type query struct {
	owner  uuid.UUID
	before uuid.UUID
	limit  int
}

func parseQuery(values url.Values, user who) (query, error) {
	q := query{owner: user.reach(), before: uuid.Max, limit: defaultLimit}
	if raw := values.Get("limit"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxLimit {
			return query{}, problem.New(problem.Malformed, "limit must be a number from 1 to 100.", err)
		}
		q.limit = n
	}
	if raw := values.Get("after"); raw != "" {
		id, ok := parseID(raw)
		if !ok {
			return query{}, problem.New(problem.Malformed, "after must be the next of an earlier page.", nil)
		}
		q.before = id
	}
	if raw := values.Get("user_id"); raw != "" {
		id, ok := parseID(raw)
		if !ok || id == uuid.Nil {
			return query{}, problem.New(problem.Malformed, "user_id must be the id of a user.", nil)
		}
		if user.role != identity.Admin && id != user.id {
			return query{}, problem.New(problem.Forbidden, "Only an admin may list the orders of others.", nil)
		}
		q.owner = id
	}
	return q, nil
}

func pathID(r *http.Request) (uuid.UUID, error) {
	id, ok := parseID(chi.URLParam(r, "id"))
	if !ok {
		return uuid.Nil, problem.New(problem.NotFound, "There is no such order.", nil)
	}
	return id, nil
}

// parseID takes the canonical form only, of the several that uuid.Parse takes.
func parseID(raw string) (uuid.UUID, bool) {
	id, err := uuid.Parse(raw)
	return id, err == nil && id.String() == raw
}
