package api

import (
	"errors"
	"net/http"

	"github.com/google/uuid"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/user-service/internal/audit"
	"platform.example/apps/user-service/internal/store"
	"platform.example/apps/user-service/internal/user"
)

// sendConfirmation sends the user another link to confirm their email.
func (a *API) sendConfirmation(w http.ResponseWriter, r *http.Request, id uuid.UUID, _ identity.Principal) error {
	if err := a.users.SendConfirmation(r.Context(), id, audit.Of(r, audit.LinkSent, string(store.Confirm))); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (a *API) confirmEmail(w http.ResponseWriter, r *http.Request, body struct {
	Token string `json:"token"`
}) error {
	changed, err := a.users.ConfirmEmail(r.Context(), body.Token, audit.Of(r, audit.UserChanged, "email confirmed"))
	if err != nil {
		return a.linkFailed(r, store.Confirm, err)
	}
	a.cache.Invalidate(r.Context(), changed.ID, changed.Version)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// sendReset sends the same response whether or not the user exists.
func (a *API) sendReset(w http.ResponseWriter, r *http.Request, body struct {
	Email user.Email `json:"email"`
}) error {
	if body.Email == "" {
		return problem.New(problem.Invalid, "email is required.", nil)
	}
	if err := a.users.SendReset(r.Context(), string(body.Email), audit.Of(r, audit.LinkSent, string(store.Reset))); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// resetPassword doesn't hash the password of a client without a valid link.
func (a *API) resetPassword(w http.ResponseWriter, r *http.Request, body struct {
	Token    string `json:"token"`
	Password string `json:"password"`
}) error {
	change := user.Change{Password: &body.Password}
	if err := change.Validate(); err != nil {
		return err
	}
	if valid, err := a.users.HasLink(r.Context(), body.Token, store.Reset); err != nil {
		return err
	} else if !valid {
		return a.linkFailed(r, store.Reset, store.ErrLink)
	}
	hash, err := a.passwords.Hash(r.Context(), body.Password)
	if err != nil {
		return err
	}
	changed, err := a.users.ResetPassword(r.Context(), body.Token, hash, audit.Of(r, audit.UserChanged, "password, by a link"))
	if err != nil {
		return a.linkFailed(r, store.Reset, err)
	}
	a.cache.Invalidate(r.Context(), changed.ID, changed.Version)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// linkFailed returns err, and records it if a link was refused. The account is unknown because used links are
// deleted.
func (a *API) linkFailed(r *http.Request, purpose store.Purpose, err error) error {
	if !errors.Is(err, store.ErrLink) {
		return err
	}
	return a.refused(r, audit.LinkRefused, uuid.Nil, err, string(purpose))
}
