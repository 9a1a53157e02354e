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
	maxPasswordBytes = 512 // what user-service takes at most
	maxIDTokenBytes  = 8 << 10
)

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
	given, client, err := read[credentials](a, r)
	if err != nil {
		return err
	}
	if given.Email == "" || given.Password == "" || len(given.Password) > maxPasswordBytes {
		return problem.New(problem.Invalid, "email and password are required; a password has at most 512 bytes.", nil)
	}
	grant, err := a.guess(account(given.Email), client, func() (session.Grant, error) {
		return a.Sessions.SignIn(r.Context(), a.client(r), given.Email, given.Password)
	})
	return a.answer(w, grant, err)
}

// read returns the body of a request, and whose it is in the limits, if the client is within theirs.
func read[T any](a *API, r *http.Request) (given T, client string, err error) {
	client = clientaddr.NetworkOf(a.Proxies.Of(r))
	if err = within(a.Requests, client); err == nil {
		given, err = httpjson.Decode[T](r)
	}
	return given, client, err
}

// signInByProvider takes an ID token for the password. In the limits, the token is the account: who it is about isn't known before.
func (a *API) signInByProvider(w http.ResponseWriter, r *http.Request) error {
	type idToken struct {
		IDToken string `json:"id_token"`
		Nonce   string `json:"nonce"`
	}
	if a.Provider == nil {
		return problem.New(problem.NotFound, "There is no identity provider to sign in with.", nil)
	}
	given, client, err := read[idToken](a, r)
	if err != nil {
		return err
	}
	if given.IDToken == "" || given.Nonce == "" || len(given.IDToken) > maxIDTokenBytes {
		return problem.New(problem.Invalid, "id_token and nonce are required; an ID token has at most 8 KiB.", nil)
	}
	grant, err := a.guess(account(given.IDToken), client, func() (session.Grant, error) {
		who, err := a.Provider.Verify(r.Context(), given.IDToken, given.Nonce)
		if err != nil {
			return session.Grant{}, err
		}
		signed := account(given.IDToken[:strings.LastIndexByte(given.IDToken, '.')]) // an ECDSA signature has two valid forms
		if fresh, _ := a.IDTokens.Take(signed); !fresh {
			return session.Grant{}, problem.New(problem.Unauthenticated, "The ID token was used before: sign in with the provider again.", nil)
		}
		grant, err := a.Sessions.SignInAs(r.Context(), a.client(r), who)
		if err != nil {
			a.IDTokens.GiveBack(signed)
		}
		return grant, err
	})
	return a.answer(w, grant, err)
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
	return a.answer(w, grant, err)
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
	given, _, err := read[refreshRequest](a, r)
	if err != nil {
		return "", err
	}
	if given.RefreshToken == "" {
		return "", problem.New(problem.Invalid, "refresh_token is required.", nil)
	}
	return given.RefreshToken, nil
}

// answer answers a grant, unless it failed.
func (a *API) answer(w http.ResponseWriter, grant session.Grant, err error) error {
	if err != nil {
		return err
	}
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

// publicKeys answers the keys that verify access tokens (RFC 7517, 5).
func (a *API) publicKeys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_ = json.NewEncoder(w).Encode(a.Tokens.PublicKeys()) // a client that left is no fault of ours
}
