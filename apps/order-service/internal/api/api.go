// Package api is the HTTP API of order-service.
package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"platform.example/apps/internal/etag"
	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/httpserver"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/page"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/resourceid"
	"platform.example/apps/order-service/internal/order"
	"platform.example/apps/order-service/internal/store"
)

// API handles the requests.
type API struct{ Orders *store.Orders }

// Register adds the routes to router.
func (a API) Register(router chi.Router, errs *problem.Mapper) {
	bounded := router.With(httpserver.Deadline)
	bounded.Post("/orders", errs.Handle(identity.RequireUser(a.create)))
	bounded.Get("/orders", errs.Handle(identity.RequireUser(a.list)))
	bounded.Get("/orders/{id}", errs.Handle(identity.RequireUser(a.get)))
	for _, m := range order.Moves() {
		bounded.Post("/orders/{id}/"+string(m), errs.Handle(identity.RequireUser(a.move(m))))
	}
}

// create repeats the first response for a request with a known Idempotency-Key. An invalid request doesn't
// use up its key.
func (a API) create(w http.ResponseWriter, r *http.Request, user identity.Principal) error {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return err
	}
	draft, err := httpjson.Decode[order.Draft](r)
	if err != nil {
		return err
	}
	o, err := order.New(user.ID, draft, time.Now())
	if err != nil {
		return err
	}
	body, _ := json.Marshal(o) // plain values always encode
	response, replayed, err := a.Orders.Create(r.Context(), o, store.Request{Key: key, Hash: draft.Hash()},
		store.Response{Status: http.StatusCreated, Body: body, OrderID: o.ID})
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	etag.Set(w, r, o.Version) // a replayed response also contains the order when it was new
	w.Header().Set("Location", "/orders/"+response.OrderID.String())
	return httpjson.Write(w, response.Status, json.RawMessage(response.Body))
}

type list struct {
	Orders []order.Order `json:"orders"`
	Next   *uuid.UUID    `json:"next,omitempty"` // the value of after for the next page; absent on the last page
}

func (a API) list(w http.ResponseWriter, r *http.Request, user identity.Principal) error {
	owner, err := ownerOf(r.URL.Query(), user)
	if err != nil {
		return err
	}
	orders, next, err := page.Read(r.URL.Query(), uuid.Max, func(o order.Order) uuid.UUID { return o.ID }, func(before uuid.UUID, limit int) ([]order.Order, error) {
		return a.Orders.List(r.Context(), owner, before, limit)
	})
	return httpjson.Respond(w, http.StatusOK, list{orders, next}, err)
}

func (a API) get(w http.ResponseWriter, r *http.Request, user identity.Principal) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	found, err := a.Orders.Get(r.Context(), id, user.Scope())
	if err != nil {
		return err
	}
	if done, err := etag.NotModified(w, r, found.Version); err != nil || done {
		return err
	}
	return httpjson.Write(w, http.StatusOK, found)
}

func (a API) move(m order.Move) identity.Handler {
	return func(w http.ResponseWriter, r *http.Request, user identity.Principal) error {
		if !m.May(user.Role) {
			return problem.New(problem.Forbidden, "Only an admin may do this.", nil)
		}
		id, err := pathID(r)
		if err != nil {
			return err
		}
		versions, err := etag.IfMatch(r)
		if err != nil {
			return err
		}
		moved, err := a.Orders.Move(r.Context(), id, user.Scope(), versions, m, time.Now())
		if err != nil {
			return err
		}
		etag.Set(w, r, moved.Version)
		return httpjson.Write(w, http.StatusOK, moved)
	}
}

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
