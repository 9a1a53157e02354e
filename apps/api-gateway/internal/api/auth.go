package api

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"platform.example/apps/api-gateway/internal/clientaddr"
	"platform.example/apps/api-gateway/internal/session"
	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/text"
)

// maxPasswordBytes is what user-service takes at most.
const maxPasswordBytes = 512

type tokenAnswer struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int    `json:"expires_in"` // seconds
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int    `json:"refresh_expires_in"` // seconds
}

func (a *API) signIn(w http.ResponseWriter, r *http.Request) error {
	type credentials struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}
	client := clientaddr.NetworkOf(a.Proxies.Of(r))
	if err := within(a.Requests, client); err != nil {
		return err
	}
	given, err := httpjson.Decode[credentials](r)
	if err != nil {
		return err
	}
	if given.Email == "" || given.Password == "" || len(given.Password) > maxPasswordBytes {
		return problem.New(problem.Invalid, "email and password are required; a password has at most 512 bytes.", nil)
	}
	grant, err := a.guess(account(given.Email), client, func() (session.Grant, error) {
		return a.Sessions.SignIn(r.Context(), a.client(r), given.Email, given.Password)
	})
	if err != nil {
		return err
	}
	return a.answer(w, grant)
}

// guess lets so many sign-ins fail per account and per address. They are
// counted before they are tried, so that many at once are no more than one
// after the other; those that don't fail are given back.
func (a *API) guess(account, client string, try func() (session.Grant, error)) (session.Grant, error) {
	if err := within(a.Accounts, account); err != nil {
		return session.Grant{}, err
	}
	if err := within(a.Sources, client); err != nil {
		a.Accounts.GiveBack(account)
		return session.Grant{}, err
	}
	grant, err := try()
	if refused, ok := errors.AsType[*problem.Error](err); !ok || refused.Code != problem.Unauthenticated {
		a.Accounts.GiveBack(account)
		a.Sources.GiveBack(client)
	}
	return grant, err
}

// account names an account in a limit, and so in Redis, without naming anybody.
func account(email string) string {
	canonical, _ := text.CanonicalEmail(email)
	sum := sha256.Sum256([]byte(strings.ToLower(canonical)))
	return hex.EncodeToString(sum[:16])
}

// client is who asks, for the audit log and the list of sessions.
func (a *API) client(r *http.Request) upstream.Client {
	return upstream.Client{Address: a.Proxies.Of(r), Agent: r.UserAgent()}
}

type refreshRequest struct {
	RefreshToken string `json:"refresh_token"`
}

func (a *API) refresh(w http.ResponseWriter, r *http.Request) error {
	given, err := a.refreshToken(r)
	if err != nil {
		return err
	}
	grant, err := a.Sessions.Refresh(r.Context(), a.client(r), given)
	if err != nil {
		return err
	}
	return a.answer(w, grant)
}

func (a *API) revoke(w http.ResponseWriter, r *http.Request) error {
	given, err := a.refreshToken(r)
	if err != nil {
		return err
	}
	if err := a.Sessions.Revoke(r.Context(), a.client(r), given); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) refreshToken(r *http.Request) (string, error) {
	if err := within(a.Requests, clientaddr.NetworkOf(a.Proxies.Of(r))); err != nil {
		return "", err
	}
	given, err := httpjson.Decode[refreshRequest](r)
	if err != nil {
		return "", err
	}
	if given.RefreshToken == "" {
		return "", problem.New(problem.Invalid, "refresh_token is required.", nil)
	}
	return given.RefreshToken, nil
}

func (a *API) answer(w http.ResponseWriter, grant session.Grant) error {
	signed, err := a.Tokens.Issue(grant.Holder)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store") // RFC 6749, 5.1
	return httpjson.Write(w, http.StatusOK, tokenAnswer{
		AccessToken: signed, TokenType: "Bearer", ExpiresIn: int(token.Life.Seconds()),
		RefreshToken: grant.RefreshToken, RefreshExpiresIn: grant.RefreshExpiresIn,
	})
}
