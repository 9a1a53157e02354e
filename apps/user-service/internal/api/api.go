// Package api is the HTTP API of user-service for other services of the platform.
package api

import (
	"errors"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"platform.example/apps/internal/etag"
	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/httpserver"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/page"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/resourceid"
	"platform.example/apps/user-service/internal/audit"
	"platform.example/apps/user-service/internal/cache"
	"platform.example/apps/user-service/internal/password"
	"platform.example/apps/user-service/internal/session"
	"platform.example/apps/user-service/internal/store"
	"platform.example/apps/user-service/internal/user"
)

// API handles the requests.
type API struct {
	Users     *store.Users
	Cache     *cache.Users
	Passwords *password.Hasher
	Sessions  *session.Sessions
	Log       *audit.Log
}

// Register adds the routes to router.
func (a API) Register(router chi.Router, errs *problem.Mapper) {
	router.Get("/users/{id}", errs.Handle(own(a.get))) // the cache limits its time
	bounded := router.With(httpserver.Deadline)
	bounded.Post("/users", errs.Handle(httpjson.With(a.create)))
	bounded.Get("/users", errs.Handle(byAdmin("list users", a.list)))
	bounded.Patch("/users/{id}", errs.Handle(own(a.update)))
	bounded.Delete("/users/{id}", errs.Handle(own(a.remove)))
	bounded.Post("/users/{id}/confirmation", errs.Handle(own(a.sendConfirmation)))
	bounded.Post("/auth/email", errs.Handle(httpjson.With(a.confirmEmail)))
	bounded.Post("/auth/password-reset", errs.Handle(httpjson.With(a.sendReset)))
	bounded.Post("/auth/password", errs.Handle(httpjson.With(a.resetPassword)))
	bounded.Get("/users/{id}/sessions", errs.Handle(own(a.listSessions)))
	bounded.Delete("/users/{id}/sessions", errs.Handle(own(a.endSessions)))
	bounded.Delete("/users/{id}/sessions/{session}", errs.Handle(own(a.endSessions)))
	bounded.Get("/audit", errs.Handle(byAdmin("read the audit log", a.audit)))
	bounded.Post("/sessions", errs.Handle(byGateway(httpjson.With(a.signIn))))
	bounded.Post("/sessions/external", errs.Handle(byGateway(httpjson.With(a.signInExternal))))
	bounded.Post("/sessions/refresh", errs.Handle(byGateway(httpjson.With(a.refresh))))
	bounded.Post("/sessions/revoke", errs.Handle(byGateway(httpjson.With(a.revoke))))
	bounded.Get("/sessions/revoked", errs.Handle(byGateway(a.revoked)))
}

func (a API) create(w http.ResponseWriter, r *http.Request, draft user.Draft) error {
	if draft.Role == "" {
		draft.Role = identity.User
	} else if identity.From(r).Role != identity.Admin {
		return errRole
	}
	hash, err := a.Passwords.Hash(r.Context(), draft.Password)
	if err != nil {
		return err
	}
	created, err := a.Users.Create(r.Context(), draft, hash, audit.Of(r, audit.UserCreated))
	if err != nil {
		return err
	}
	etag.Set(w, r, created.Version)
	w.Header().Set("Location", "/users/"+created.ID.String())
	return httpjson.Write(w, http.StatusCreated, created)
}

type list struct {
	Users []user.User `json:"users"`
	Next  *uuid.UUID  `json:"next,omitempty"` // the value of after for the next page; absent on the last page
}

func (a API) list(w http.ResponseWriter, r *http.Request) error {
	users, next, err := page.Read(r.URL.Query(), uuid.Nil, func(u user.User) uuid.UUID { return u.ID }, func(after uuid.UUID, limit int) ([]user.User, error) {
		return a.Users.List(r.Context(), after, limit)
	})
	return httpjson.Respond(w, http.StatusOK, list{users, next}, err)
}

// audit sends the audit log of one user or of all users to admins, newest first.
func (a API) audit(w http.ResponseWriter, r *http.Request) error {
	userID := uuid.Nil
	if raw := r.URL.Query().Get("user"); raw != "" {
		var ok bool
		if userID, ok = resourceid.Parse(raw); !ok {
			return problem.New(problem.Malformed, "user must be the id of a user.", nil)
		}
	}
	entries, next, err := page.Read(r.URL.Query(), uuid.Max, func(e audit.Entry) uuid.UUID { return e.ID }, func(before uuid.UUID, limit int) ([]audit.Entry, error) {
		return a.Log.List(r.Context(), userID, before, limit)
	})
	return httpjson.Respond(w, http.StatusOK, struct {
		Entries []audit.Entry `json:"entries"`
		Next    *uuid.UUID    `json:"next,omitempty"`
	}{entries, next}, err)
}

func (a API) get(w http.ResponseWriter, r *http.Request, id uuid.UUID, _ identity.Principal) error {
	found, version, hit, err := a.Cache.Get(r.Context(), id)
	if hit {
		w.Header().Set("X-Cache", "hit")
	} else {
		w.Header().Set("X-Cache", "miss")
	}
	if err != nil {
		return err
	}
	if done, err := etag.NotModified(w, r, version); err != nil || done {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(found) // fails only if the client has left
	return nil
}

func (a API) update(w http.ResponseWriter, r *http.Request, id uuid.UUID, caller identity.Principal) error {
	change, err := httpjson.Decode[user.Change](r)
	if err != nil {
		return err
	}
	if change.Role != nil && caller.Role != identity.Admin {
		return errRole
	}
	if change.Email != nil || change.Password != nil || change.Role != nil {
		if change.Guard, err = a.prove(r, caller, change.CurrentPassword); err != nil {
			return err
		}
	}
	if change.Versions, err = etag.IfMatch(r); err != nil {
		return err
	}
	var hash string
	if change.Password != nil {
		if hash, err = a.Passwords.Hash(r.Context(), *change.Password); err != nil {
			return err
		}
	}
	updated, err := a.Users.Update(r.Context(), id, change, hash, audit.Of(r, audit.UserChanged, change.FieldNames()...))
	if err != nil {
		return err
	}
	a.Cache.Invalidate(r.Context(), id, updated.Version)
	etag.Set(w, r, updated.Version)
	return httpjson.Write(w, http.StatusOK, updated)
}

func (a API) remove(w http.ResponseWriter, r *http.Request, id uuid.UUID, caller identity.Principal) error {
	body, err := httpjson.Decode[proof](r)
	if err != nil {
		return err
	}
	guard, err := a.prove(r, caller, body.CurrentPassword)
	if err != nil {
		return err
	}
	if guard.Versions, err = etag.IfMatch(r); err != nil {
		return err
	}
	if err := a.Users.Delete(r.Context(), id, guard, audit.Of(r, audit.UserDeleted)); err != nil {
		return err
	}
	a.Cache.Invalidate(r.Context(), id, cache.Deleted)
	return httpjson.NoBody(w, http.StatusNoContent, nil)
}

var errRole = problem.New(problem.Forbidden, "Only an admin may choose a role.", nil)

// proof is the body of a request that contains only the caller's password.
type proof struct {
	CurrentPassword string `json:"current_password"`
}

// prove checks the caller's own password: an access token alone, which may be stolen, must not be enough to
// take an account over. The returned guard requires that the password and the role are still the same when the
// change is made.
func (a API) prove(r *http.Request, caller identity.Principal, password string) (guard user.Guard, err error) {
	if password == "" || len(password) > user.MaxPasswordBytes {
		return guard, problem.New(problem.Invalid, "current_password is required: your own password.", nil)
	}
	known, err := a.Users.CredentialsOf(r.Context(), caller.ID)
	if err != nil {
		return guard, err
	}
	right, err := a.Passwords.Verify(r.Context(), password, known.PasswordHash)
	if err == nil && !right {
		err = a.refused(r, audit.PasswordRefused, caller.ID, problem.New(problem.Forbidden, "current_password is wrong.", nil))
	}
	return user.Guard{Caller: caller.ID, PasswordHash: known.PasswordHash, Role: caller.Role}, err
}

// refused returns a refusal, and records it for the account of user; uuid.Nil means no known account.
func (a API) refused(r *http.Request, action audit.Action, user uuid.UUID, refusal error, details ...string) error {
	return errors.Join(refusal, a.Log.Refused(r.Context(), audit.Of(r, action, details...), user))
}

// own returns a handler that calls handle with the user in the path and the caller. It refuses a caller who
// is neither that user nor an admin.
func own(handle func(http.ResponseWriter, *http.Request, uuid.UUID, identity.Principal) error) func(http.ResponseWriter, *http.Request) error {
	return identity.RequireUser(func(w http.ResponseWriter, r *http.Request, caller identity.Principal) error {
		id, ok := resourceid.Parse(chi.URLParam(r, "id"))
		if !ok {
			return problem.New(problem.NotFound, "There is no such user.", nil)
		}
		if id != caller.ID && caller.Role != identity.Admin {
			return problem.New(problem.Forbidden, "You may access only your own user.", nil)
		}
		return handle(w, r, id, caller)
	})
}

// byAdmin returns a handler that refuses callers who are not admins. what completes the sentence "Only an
// admin may".
func byAdmin(what string, handle func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return identity.RequireUser(func(w http.ResponseWriter, r *http.Request, caller identity.Principal) error {
		if caller.Role != identity.Admin {
			return problem.New(problem.Forbidden, "Only an admin may "+what+".", nil)
		}
		return handle(w, r)
	})
}

// byGateway returns a handler that refuses callers other than the gateway itself.
func byGateway(handle func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if identity.From(r).Role != identity.Gateway {
			return problem.New(problem.Forbidden, "Only the gateway may do this.", nil)
		}
		return handle(w, r)
	}
}
