package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

const (
	maxPasswordBytes = 512 // the limit of user-service
	maxIDTokenBytes  = 8 << 10
)

type tokenResponse struct {
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
	body, client, err := read[credentials](a, r)
	if err != nil {
		return err
	}
	if body.Email == "" || body.Password == "" || len(body.Password) > maxPasswordBytes {
		return problem.New(problem.Invalid, "email and password are required; a password has at most 512 bytes.", nil)
	}
	grant, err := a.limitFailures(account(body.Email), client, func() (session.Grant, error) {
		return a.Sessions.SignIn(r.Context(), a.client(r), body.Email, body.Password)
	})
	return a.respond(w, grant, err)
}

// read decodes the body of a request and returns the client's name in the limits. It fails if the client has
// reached its limit.
func read[T any](a *API, r *http.Request) (body T, client string, err error) {
	client = clientaddr.NetworkOf(a.Proxies.Of(r))
	if err = within(a.Requests, client); err == nil {
		body, err = httpjson.Decode[T](r)
	}
	return body, client, err
}

// signInByProvider signs in with an ID token instead of a password. The limits count the token in place of the
// account, which isn't known before the verification.
func (a *API) signInByProvider(w http.ResponseWriter, r *http.Request) error {
	type idToken struct {
		IDToken string `json:"id_token"`
		Nonce   string `json:"nonce"`
	}
	if a.Provider == nil {
		return problem.New(problem.NotFound, "No identity provider is configured.", nil)
	}
	body, client, err := read[idToken](a, r)
	if err != nil {
		return err
	}
	if body.IDToken == "" || body.Nonce == "" || len(body.IDToken) > maxIDTokenBytes {
		return problem.New(problem.Invalid, "id_token and nonce are required; an ID token has at most 8 KiB.", nil)
	}
	grant, err := a.limitFailures(account(body.IDToken), client, func() (session.Grant, error) {
		user, err := a.Provider.Verify(r.Context(), body.IDToken, body.Nonce)
		if err != nil {
			return session.Grant{}, err
		}
		from := a.client(r)
		from.IDToken = account(string(user.Claims)) // not of the token, which verifies in several forms
		return a.Sessions.SignInExternal(r.Context(), from, user)
	})
	return a.respond(w, grant, err)
}

// limitFailures limits the failed sign-ins per account and per address. It counts a sign-in before trying it,
// so that concurrent ones count like consecutive ones, and undoes the count if the sign-in doesn't fail.
func (a *API) limitFailures(account, client string, try func() (session.Grant, error)) (session.Grant, error) {
	if err := within(a.Accounts, account); err != nil {
		return session.Grant{}, err
	}
	if err := within(a.Sources, client); err != nil {
		a.Accounts.Undo(account)
		return session.Grant{}, err
	}
	grant, err := try()
	if refused, ok := errors.AsType[*problem.Error](err); !ok || refused.Code != problem.Unauthenticated {
		a.Accounts.Undo(account)
		a.Sources.Undo(client)
	}
	return grant, err
}

// account returns the name of an account in a limit, and so in Redis: a hash that reveals no email.
func account(email string) string {
	canonical, _ := text.CanonicalEmail(email)
	sum := sha256.Sum256([]byte(strings.ToLower(canonical)))
	return hex.EncodeToString(sum[:16])
}

// client returns the client of a request, for the audit log and the list of sessions.
func (a *API) client(r *http.Request) upstream.Client {
	return upstream.Client{Address: a.Proxies.Of(r), Agent: r.UserAgent()}
}

type refreshRequest struct {
	RefreshToken string `json:"refresh_token"`
}

func (a *API) refresh(w http.ResponseWriter, r *http.Request) error {
	refreshToken, err := a.refreshToken(r)
	if err != nil {
		return err
	}
	grant, err := a.Sessions.Refresh(r.Context(), a.client(r), refreshToken)
	return a.respond(w, grant, err)
}

func (a *API) revoke(w http.ResponseWriter, r *http.Request) error {
	refreshToken, err := a.refreshToken(r)
	if err != nil {
		return err
	}
	return httpjson.NoBody(w, http.StatusNoContent, a.Sessions.Revoke(r.Context(), a.client(r), refreshToken))
}

func (a *API) refreshToken(r *http.Request) (string, error) {
	body, _, err := read[refreshRequest](a, r)
	if err != nil {
		return "", err
	}
	if body.RefreshToken == "" {
		return "", problem.New(problem.Invalid, "refresh_token is required.", nil)
	}
	return body.RefreshToken, nil
}

// respond sends the tokens of a grant, or returns err.
func (a *API) respond(w http.ResponseWriter, grant session.Grant, err error) error {
	if err != nil {
		return err
	}
	signed, err := a.Tokens.Issue(grant.Holder, token.Life)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store") // RFC 6749, 5.1
	return httpjson.Write(w, http.StatusOK, tokenResponse{
		AccessToken: signed, TokenType: "Bearer", ExpiresIn: int(token.Life.Seconds()),
		RefreshToken: grant.RefreshToken, RefreshExpiresIn: grant.RefreshExpiresIn,
	})
}

// publicKeys sends the keys that verify access tokens (RFC 7517, 5).
func (a *API) publicKeys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_ = json.NewEncoder(w).Encode(a.Tokens.PublicKeys()) // fails only if the client has left
}
