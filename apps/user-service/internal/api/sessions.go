package api

import (
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
	"platform.example/apps/user-service/internal/user"
)

// revokedPage bounds the revoked sessions of one answer, some 100 KB.
const revokedPage = 1000

type credentials struct {
	Email    user.Email `json:"email"`
	Password string     `json:"password"`
}

// signIn says the same, after the same time, of an unknown user and of a wrong password.
func (a *API) signIn(w http.ResponseWriter, r *http.Request, given credentials) error {
	if given.Email == "" || given.Password == "" || len(given.Password) > user.MaxPasswordBytes {
		return problem.New(problem.Invalid, "email and password are required; a password has at most 512 bytes.", nil)
	}
	known, err := a.users.Credentials(r.Context(), string(given.Email))
	if err != nil {
		return err
	}
	right, err := a.passwords.Verify(r.Context(), given.Password, known.PasswordHash)
	if err != nil {
		return err
	}
	if !right {
		return a.refused(r, audit.SignInRefused, known.ID, problem.New(problem.Unauthenticated, "Email or password is wrong.", nil))
	}
	begun, err := a.sessions.Begin(r.Context(), known.ID, known.PasswordHash, audit.Of(r, audit.SessionBegun))
	if err != nil {
		return err
	}
	return httpjson.Write(w, http.StatusCreated, begun)
}

// claims are those of an ID token that the gateway has verified.
type claims struct {
	Issuer        string     `json:"iss"`
	Subject       string     `json:"sub"`
	Email         user.Email `json:"email"`
	EmailVerified bool       `json:"email_verified"`
	Name          string     `json:"name"`
}

// signInAs begins a session of the user whom an identity provider vouches for. Who is new becomes a user without a password. A user
// who has the email already is not linked: they may have registered somebody else's.
func (a *API) signInAs(w http.ResponseWriter, r *http.Request, given claims) error {
	const detail = "by an identity provider"
	if given.Issuer == "" || given.Subject == "" || strings.ContainsRune(given.Subject, 0) {
		return problem.New(problem.Invalid, "iss and sub are required.", nil)
	}
	known, err := a.users.External(r.Context(), given.Issuer, given.Subject)
	if err != nil {
		return err
	}
	if known.ID == uuid.Nil {
		draft, ok := user.External(given.Issuer, given.Subject, given.Email, given.Name)
		if !ok || !given.EmailVerified {
			return problem.New(problem.Forbidden, "The identity provider has verified no email that a user can have.", nil)
		}
		created, err := a.users.Create(r.Context(), draft, "", audit.Of(r, audit.UserCreated, detail))
		if known.ID = created.ID; err != nil { // of two at once, one has created the user
			var again error
			if known, again = a.users.External(r.Context(), given.Issuer, given.Subject); again != nil || known.ID == uuid.Nil {
				return err
			}
		}
	}
	begun, err := a.sessions.Begin(r.Context(), known.ID, known.PasswordHash, audit.Of(r, audit.SessionBegun, detail))
	if err != nil {
		return err
	}
	return httpjson.Write(w, http.StatusCreated, begun)
}

type refreshToken struct {
	RefreshToken string `json:"refresh_token"`
}

func (a *API) refresh(w http.ResponseWriter, r *http.Request, given refreshToken) error {
	next, err := a.sessions.Refresh(r.Context(), given.RefreshToken, audit.Of(r, audit.SessionEnded))
	if err != nil {
		return err
	}
	return httpjson.Write(w, http.StatusOK, next)
}

// revoke answers alike whether or not there was a session (RFC 7009, 2.2).
func (a *API) revoke(w http.ResponseWriter, r *http.Request, given refreshToken) error {
	if err := a.sessions.Revoke(r.Context(), given.RefreshToken, audit.Of(r, audit.SessionEnded)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// listSessions shows users where they are signed in.
func (a *API) listSessions(w http.ResponseWriter, r *http.Request, id uuid.UUID, _ identity.Someone) error {
	open, err := a.sessions.List(r.Context(), id)
	if err != nil {
		return err
	}
	return httpjson.Write(w, http.StatusOK, struct {
		Sessions []session.Open `json:"sessions"`
	}{open})
}

// endSessions ends the session that the path names, or all of the user's.
func (a *API) endSessions(w http.ResponseWriter, r *http.Request, id uuid.UUID, _ identity.Someone) error {
	one, action := uuid.Nil, audit.SessionsEnded
	if raw := chi.URLParam(r, "session"); raw != "" {
		var ok bool
		if one, ok = resourceid.Parse(raw); !ok || one == uuid.Nil {
			return problem.New(problem.NotFound, "There is no such session.", nil)
		}
		action = audit.SessionEnded
	}
	if err := a.sessions.End(r.Context(), id, one, audit.Of(r, action)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) revoked(w http.ResponseWriter, r *http.Request) error {
	after, page := session.Ended{}, 0 // a gateway of the version before asks for all
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
			return problem.New(problem.Malformed, "after must be the session_id of an earlier answer.", nil)
		}
	}
	ended, more, err := a.sessions.Revoked(r.Context(), after, page)
	if err != nil {
		return err
	}
	return httpjson.Write(w, http.StatusOK, struct {
		Revoked []session.Ended `json:"revoked"`
		More    bool            `json:"more,omitempty"`
	}{ended, more})
}
