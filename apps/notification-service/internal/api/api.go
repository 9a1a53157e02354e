// Package api is the HTTP API of notification-service: the inbox of each user.
package api

import (
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/httpserver"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/page"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/resourceid"
	"platform.example/apps/notification-service/internal/notification"
	"platform.example/apps/notification-service/internal/store"
)

// API handles the requests.
type API struct{ Store *store.Store }

// Register adds the routes to router.
func (a API) Register(router chi.Router, errs *problem.Mapper) {
	bounded := router.With(httpserver.Deadline)
	bounded.Get("/notifications", errs.Handle(identity.RequireUser(a.list)))
	bounded.Post("/notifications/read", errs.Handle(identity.RequireUser(a.readAll)))
	bounded.Post("/notifications/{id}/read", errs.Handle(identity.RequireUser(a.read)))
}

type inbox struct {
	Notifications []notification.Notification `json:"notifications"`
	Unread        int                         `json:"unread"`         // in the whole inbox, not only on this page
	Next          *uuid.UUID                  `json:"next,omitempty"` // the value of after for the next page; absent on the last page
}

func (a API) list(w http.ResponseWriter, r *http.Request, user identity.Principal) error {
	unread := r.URL.Query().Get("unread")
	if !slices.Contains([]string{"", "false", "true"}, unread) {
		return problem.New(problem.Malformed, "unread must be true or false.", nil)
	}
	notifications, next, err := page.Read(r.URL.Query(), uuid.Max, func(n notification.Notification) uuid.UUID { return n.ID }, func(before uuid.UUID, limit int) ([]notification.Notification, error) {
		return a.Store.List(r.Context(), user.ID, before, unread == "true", limit)
	})
	if err != nil {
		return err
	}
	count, err := a.Store.Unread(r.Context(), user.ID)
	return httpjson.Respond(w, http.StatusOK, inbox{notifications, count, next}, err)
}

func (a API) read(w http.ResponseWriter, r *http.Request, user identity.Principal) error {
	id, ok := resourceid.Parse(chi.URLParam(r, "id"))
	if !ok {
		return problem.New(problem.NotFound, "There is no such notification.", nil)
	}
	return httpjson.NoBody(w, http.StatusNoContent, a.Store.MarkRead(r.Context(), id, user.ID, user.Role == identity.Admin))
}

func (a API) readAll(w http.ResponseWriter, r *http.Request, user identity.Principal) error {
	return httpjson.NoBody(w, http.StatusNoContent, a.Store.MarkAllRead(r.Context(), user.ID))
}
