package api

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/resourceid"
	"platform.example/apps/user-service/internal/audit"
	"platform.example/apps/user-service/internal/session"
	"platform.example/apps/user-service/internal/store"
	"platform.example/apps/user-service/internal/user"
)

// revokedPage limits the revoked sessions in one response, about 100 KB.
const revokedPage = 1000

type credentials struct {
	Email    user.Email `json:"email"`
	Password string     `json:"password"`
}

// signIn sends the same response, after the same time, for an unknown user and for a wrong password.
func (a API) signIn(w http.ResponseWriter, r *http.Request, body credentials) error {
	if body.Email == "" || body.Password == "" || len(body.Password) > user.MaxPasswordBytes {
		return problem.New(problem.Invalid, "email and password are required; a password has at most 512 bytes.", nil)
	}
	known, err := a.Users.Credentials(r.Context(), string(body.Email))
	if err != nil {
		return err
	}
	right, err := a.Passwords.Verify(r.Context(), body.Password, known.PasswordHash)
	if err != nil {
		return err
	}
	if !right {
		return a.refused(r, audit.SignInRefused, known.ID, problem.New(problem.Unauthenticated, "Email or password is wrong.", nil))
	}
	created, err := a.Sessions.Begin(r.Context(), known.ID, known.PasswordHash, audit.Of(r, audit.SessionBegun))
	return httpjson.Respond(w, http.StatusCreated, created, err)
}

// claims are the claims of an ID token that the gateway has verified.
type claims struct {
	Issuer        string     `json:"iss"`
	Subject       string     `json:"sub"`
	Email         user.Email `json:"email"`
	EmailVerified bool       `json:"email_verified"`
	Name          string     `json:"name"`
}

// signInExternal starts a session of a user of an identity provider. It creates a new user without a
// password. It doesn't link an existing user with the same email: that user may have registered an email that
// isn't theirs.
func (a API) signInExternal(w http.ResponseWriter, r *http.Request, body claims) error {
	const detail = "by an identity provider"
	if body.Issuer == "" || body.Subject == "" || strings.ContainsRune(body.Subject, 0) {
		return problem.New(problem.Invalid, "iss and sub are required.", nil)
	}
	known, err := a.Users.External(r.Context(), body.Issuer, body.Subject)
	if err != nil {
		return err
	}
	if known.ID == uuid.Nil {
		draft, ok := user.External(body.Issuer, body.Subject, body.Email, body.Name)
		if !ok || !body.EmailVerified {
			return problem.New(problem.Forbidden, "The identity provider has not verified a usable email.", nil)
		}
		newUser, err := a.Users.Create(r.Context(), draft, "", audit.Of(r, audit.UserCreated, detail))
		if known.ID = newUser.ID; err != nil { // a concurrent request may have created the user
			var retryErr error
			if known, retryErr = a.Users.External(r.Context(), body.Issuer, body.Subject); retryErr != nil || known.ID == uuid.Nil {
				return err
			}
		}
	}
	created, err := a.Sessions.Begin(r.Context(), known.ID, known.PasswordHash, audit.Of(r, audit.SessionBegun, detail))
	return httpjson.Respond(w, http.StatusCreated, created, err)
}

type refreshToken struct {
	RefreshToken string `json:"refresh_token"`
}

func (a API) refresh(w http.ResponseWriter, r *http.Request, body refreshToken) error {
	next, err := a.Sessions.Refresh(r.Context(), body.RefreshToken, audit.Of(r, audit.SessionEnded))
	return httpjson.Respond(w, http.StatusOK, next, err)
}

// revoke sends the same response whether or not the session exists (RFC 7009, 2.2).
func (a API) revoke(w http.ResponseWriter, r *http.Request, body refreshToken) error {
	return httpjson.NoBody(w, http.StatusNoContent, a.Sessions.Revoke(r.Context(), body.RefreshToken, audit.Of(r, audit.SessionEnded)))
}

// listSessions sends the open sessions of the user.
func (a API) listSessions(w http.ResponseWriter, r *http.Request, id uuid.UUID, _ identity.Principal) error {
	open, err := a.Sessions.List(r.Context(), id)
	return httpjson.Respond(w, http.StatusOK, struct {
		Sessions []session.Open `json:"sessions"`
	}{open}, err)
}

// endSessions ends the session in the path, or all sessions of the user.
func (a API) endSessions(w http.ResponseWriter, r *http.Request, id uuid.UUID, _ identity.Principal) error {
	one, action := uuid.Nil, audit.SessionsEnded
	if raw := chi.URLParam(r, "session"); raw != "" {
		var ok bool
		if one, ok = resourceid.Parse(raw); !ok || one == uuid.Nil {
			return problem.New(problem.NotFound, "There is no such session.", nil)
		}
		action = audit.SessionEnded
	}
	return httpjson.NoBody(w, http.StatusNoContent, a.Sessions.End(r.Context(), id, one, audit.Of(r, action)))
}

func (a API) revoked(w http.ResponseWriter, r *http.Request) error {
	after, page := session.Ended{}, 0 // a gateway of the previous release requests all
	if raw := r.URL.Query().Get("since"); raw != "" {
		var err error
		page = revokedPage
		if after.At, err = time.Parse(time.RFC3339Nano, raw); err != nil {
			return problem.New(problem.Malformed, "since must be a time (RFC 3339).", err)
		}
	}
	if raw := r.URL.Query().Get("after"); raw != "" {
		var ok bool
		if after.ID, ok = resourceid.Parse(raw); !ok {
			return problem.New(problem.Malformed, "after must be the session_id of a previous response.", nil)
		}
	}
	ended, more, err := a.Sessions.Revoked(r.Context(), after, page)
	return httpjson.Respond(w, http.StatusOK, struct {
		Revoked []session.Ended `json:"revoked"`
		More    bool            `json:"more,omitempty"`
	}{ended, more}, err)
}

// sendConfirmation sends the user another link to confirm their email.
func (a API) sendConfirmation(w http.ResponseWriter, r *http.Request, id uuid.UUID, _ identity.Principal) error {
	entry := audit.Of(r, audit.LinkSent, string(store.Confirm))
	return httpjson.NoBody(w, http.StatusAccepted, a.Users.SendLink(r.Context(), id, store.Confirm, entry))
}

func (a API) confirmEmail(w http.ResponseWriter, r *http.Request, body struct {
	Token string `json:"token"`
}) error {
	return a.useLink(w, r, body.Token, store.Confirm, "", "email confirmed")
}

// sendReset sends the same response whether or not the user exists.
func (a API) sendReset(w http.ResponseWriter, r *http.Request, body struct {
	Email user.Email `json:"email"`
}) error {
	if body.Email == "" {
		return problem.New(problem.Invalid, "email is required.", nil)
	}
	return httpjson.NoBody(w, http.StatusAccepted, a.Users.SendReset(r.Context(), string(body.Email), audit.Of(r, audit.LinkSent, string(store.Reset))))
}

// resetPassword doesn't hash the password of a client without a valid link.
func (a API) resetPassword(w http.ResponseWriter, r *http.Request, body struct {
	Token    string `json:"token"`
	Password string `json:"password"`
}) error {
	change := user.Change{Password: &body.Password}
	if err := change.Validate(); err != nil {
		return err
	}
	if valid, err := a.Users.HasLink(r.Context(), body.Token, store.Reset); err != nil {
		return err
	} else if !valid {
		return a.linkFailed(r, store.Reset, store.ErrLink)
	}
	hash, err := a.Passwords.Hash(r.Context(), body.Password)
	if err != nil {
		return err
	}
	return a.useLink(w, r, body.Token, store.Reset, hash, "password, by a link")
}

// useLink confirms an email by a link, and with a hash also resets the password.
func (a API) useLink(w http.ResponseWriter, r *http.Request, token string, purpose store.Purpose, hash, detail string) error {
	changed, err := a.Users.UseLink(r.Context(), purpose, token, hash, audit.Of(r, audit.UserChanged, detail))
	if err != nil {
		return a.linkFailed(r, purpose, err)
	}
	a.Cache.Invalidate(r.Context(), changed.ID, changed.Version)
	return httpjson.NoBody(w, http.StatusNoContent, nil)
}

// linkFailed returns err, and records it if a link was refused. The account is unknown because used links are
// deleted.
func (a API) linkFailed(r *http.Request, purpose store.Purpose, err error) error {
	if !errors.Is(err, store.ErrLink) {
		return err
	}
	return a.refused(r, audit.LinkRefused, uuid.Nil, err, string(purpose))
}
