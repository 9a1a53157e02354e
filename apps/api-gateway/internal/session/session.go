// Package session signs users in and out at user-service, which keeps the
// sessions, and knows which of them were revoked.
package session

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

// pollEvery bounds how long an access token outlives the end of its session,
// while user-service answers; without an answer, it is the token's own life.
// Asking for the few that were revoked spares a look-up per request.
const pollEvery = time.Second

// Sessions signs in and out.
type Sessions struct {
	users   *upstream.Service
	log     *slog.Logger
	revoked atomic.Pointer[map[string]struct{}]
	heard   atomic.Int64 // Unix seconds of the last answer about revoked sessions
}

// New returns the sessions that user-service keeps.
func New(users *upstream.Service, log *slog.Logger, registry prometheus.Registerer) *Sessions {
	s := &Sessions{users: users, log: log}
	s.revoked.Store(&map[string]struct{}{})
	s.heard.Store(time.Now().Unix())
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gateway_revocations_age_seconds", Help: "Time since user-service last told which sessions were revoked.",
	}, func() float64 { return time.Since(time.Unix(s.heard.Load(), 0)).Seconds() }))
	return s
}

// Grant is a session that was begun or gone on with.
type Grant struct {
	Holder           token.Holder
	RefreshToken     string
	RefreshExpiresIn int // seconds
}

// answer is user-service's form of a Grant.
type answer struct {
	UserID           string        `json:"user_id"`
	Role             identity.Role `json:"role"`
	SessionID        string        `json:"session_id"`
	RefreshToken     string        `json:"refresh_token"`
	RefreshExpiresIn int           `json:"refresh_expires_in"`
}

// SignIn begins a session. It fails with problem.Unauthenticated where email or
// password is wrong.
func (s *Sessions) SignIn(ctx context.Context, email, password string) (Grant, error) {
	return s.grant(ctx, "/sessions", map[string]string{"email": email, "password": password}, "Email or password is wrong.")
}

// Refresh goes on with a session. It fails with problem.Unauthenticated where
// the token is no longer good.
func (s *Sessions) Refresh(ctx context.Context, refreshToken string) (Grant, error) {
	return s.grant(ctx, "/sessions/refresh", map[string]string{"refresh_token": refreshToken},
		"The refresh token is not valid or has expired: sign in again.")
}

func (s *Sessions) grant(ctx context.Context, path string, in any, refusal string) (Grant, error) {
	var given answer
	status, err := s.users.Post(ctx, path, in, &given)
	if err != nil {
		return Grant{}, err
	}
	switch status {
	case http.StatusCreated, http.StatusOK:
		return Grant{
			Holder:       token.Holder{Caller: identity.Caller{UserID: given.UserID, Role: given.Role}, SessionID: given.SessionID},
			RefreshToken: given.RefreshToken, RefreshExpiresIn: given.RefreshExpiresIn,
		}, nil
	case http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusBadRequest:
		return Grant{}, problem.New(problem.Unauthenticated, refusal, nil)
	default:
		return Grant{}, unavailable(status)
	}
}

// Revoke ends the session of a refresh token, if there is one (RFC 7009, 2.2).
func (s *Sessions) Revoke(ctx context.Context, refreshToken string) error {
	status, err := s.users.Post(ctx, "/sessions/revoke", map[string]string{"refresh_token": refreshToken}, nil)
	if err == nil && status >= http.StatusInternalServerError {
		err = unavailable(status)
	}
	return err
}

func unavailable(status int) error {
	return problem.New(problem.Unavailable, "Signing in and out is not available right now.",
		fmt.Errorf("user-service answers %d", status))
}

// Revoked reports whether a session was ended before its time.
func (s *Sessions) Revoked(id string) bool {
	_, revoked := (*s.revoked.Load())[id]
	return revoked
}

// Watch keeps Revoked right until ctx is done.
func (s *Sessions) Watch(ctx context.Context) {
	answered := true
	for {
		err := s.poll(ctx)
		if err != nil && answered && ctx.Err() == nil {
			s.log.WarnContext(ctx, "which sessions were revoked is not known right now", "cause", err)
		}
		answered = err == nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(pollEvery):
		}
	}
}

func (s *Sessions) poll(ctx context.Context) error {
	var list struct {
		Revoked []struct {
			SessionID string `json:"session_id"`
		} `json:"revoked"`
	}
	if err := s.users.Poll(ctx, "/sessions/revoked", &list); err != nil {
		return err
	}
	revoked := make(map[string]struct{}, len(list.Revoked))
	for _, one := range list.Revoked {
		revoked[one.SessionID] = struct{}{}
	}
	s.revoked.Store(&revoked)
	s.heard.Store(time.Now().Unix())
	return nil
}
