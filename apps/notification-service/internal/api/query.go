package api

import (
	"net/url"

	"platform.example/apps/internal/page"
	"platform.example/apps/internal/problem"
)

// query is which part of an inbox is asked for.
type query struct {
	page   page.Request
	unread bool // only those that aren't read
}

func parseQuery(values url.Values) (query, error) {
	part, err := page.Parse(values)
	if err != nil {
		return query{}, err
	}
	q := query{page: part}
	switch values.Get("unread") {
	case "", "false":
	case "true":
		q.unread = true
	default:
		return query{}, problem.New(problem.Malformed, "unread must be true or false.", nil)
	}
	return q, nil
}
