package api

import (
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"platform.example/apps/internal/problem"
	"platform.example/apps/notification-service/internal/store"
)

const (
	defaultLimit = 50
	maxLimit     = 100
)

// parsePage reads which part of the inbox the query of a list asks for.
func parsePage(query url.Values) (store.Page, error) {
	page := store.Page{Before: uuid.Max, Limit: defaultLimit}
	if raw := query.Get("limit"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxLimit {
			return store.Page{}, problem.New(problem.Malformed, "limit must be a number from 1 to 100.", err)
		}
		page.Limit = n
	}
	if raw := query.Get("after"); raw != "" {
		id, ok := parseID(raw)
		if !ok {
			return store.Page{}, problem.New(problem.Malformed, "after must be the next of an earlier page.", nil)
		}
		page.Before = id
	}
	switch query.Get("unread") {
	case "", "false":
	case "true":
		page.Unread = true
	default:
		return store.Page{}, problem.New(problem.Malformed, "unread must be true or false.", nil)
	}
	return page, nil
}

// parseID takes the canonical form only, of the several that uuid.Parse takes.
func parseID(raw string) (uuid.UUID, bool) {
	id, err := uuid.Parse(raw)
	return id, err == nil && id.String() == raw
}
