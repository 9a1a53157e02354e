package api

import (
	"net/http"
	"net/url"
	"regexp"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/resourceid"
)

var visible = regexp.MustCompile("^[!-~]{1,255}$")

// idempotencyKey returns the required header Idempotency-Key.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) != 1 || !visible.MatchString(values[0]) {
		return "", problem.New(problem.Malformed,
			"Exactly one Idempotency-Key header with 1 to 255 visible ASCII characters is required.", nil)
	}
	return values[0], nil
}

// ownerOf returns the user whose orders a query lists; uuid.Nil means all users.
func ownerOf(query url.Values, user identity.Principal) (uuid.UUID, error) {
	raw := query.Get("user_id")
	if raw == "" {
		return user.Scope(), nil
	}
	id, ok := resourceid.Parse(raw)
	if !ok || id == uuid.Nil {
		return id, problem.New(problem.Malformed, "user_id must be the id of a user.", nil)
	}
	if user.Role != identity.Admin && id != user.ID {
		return id, problem.New(problem.Forbidden, "Only an admin may list the orders of others.", nil)
	}
	return id, nil
}

func pathID(r *http.Request) (uuid.UUID, error) {
	id, ok := resourceid.Parse(chi.URLParam(r, "id"))
	if !ok {
		return uuid.Nil, problem.New(problem.NotFound, "There is no such order.", nil)
	}
	return id, nil
}
