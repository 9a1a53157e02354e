// Package session signs users in and out at user-service, which keeps the
// sessions, and knows which of them were revoked.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"platform.example/apps/api-gateway/internal/provider"
	"platform.example/apps/api-gateway/internal/token"
	"platform.example/apps/api-gateway/internal/upstream"
	"platform.example/apps/internal/background"
	"platform.example/apps/internal/problem"
)

// pollEvery bounds how long an access token outlives the end of its session,
// while user-service answers; without an answer, it is the token's own life.
// Asking for the few that were revoked spares a look-up per request.
const pollEvery = time.Second

const (
	// keepFor is longer than an access token is valid, and allows for clocks that differ.
	keepFor = 30 * time.Minute
	// overlap is how far back each poll looks again: a session's end becomes
	// visible when its transaction commits, maybe after later ones.
	overlap = 15 * time.Second
)

// Sessions signs in and out.
type Sessions struct {
	users   *upstream.Service
	log     *slog.Logger
	revoked atomic.Pointer[map[string]time.Time] // nil before the first answer; when each ended
	heard   atomic.Int64                         // Unix seconds of the last answer about revoked sessions
}

// New returns the sessions that user-service keeps.
func New(users *upstream.Service, log *slog.Logger, registry prometheus.Registerer) *Sessions {
	s := &Sessions{users: users, log: log}
	s.heard.Store(time.Now().Unix())
	promauto.With(registry).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gateway_revocations_age_seconds", Help: "Time since user-service last told which sessions were revoked.",
	}, func() float64 { return time.Since(time.Unix(s.heard.Load(), 0)).Seconds() })
	return s
}

// Grant is a session that was begun or refreshed, in the form that user-service returns.
type Grant struct {
	token.Holder
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int    `json:"refresh_expires_in"` // seconds
}

// SignIn begins a session. It fails with problem.Unauthenticated where email or
// password is wrong.
func (s *Sessions) SignIn(ctx context.Context, client upstream.Client, email, password string) (Grant, error) {
	return s.grant(ctx, "/sessions", client, map[string]string{"email": email, "password": password}, "Email or password is wrong.")
}

// SignInAs begins a session of whom an identity provider vouches for. It fails
// with problem.Forbidden or problem.Conflict where that can be no user's.
func (s *Sessions) SignInAs(ctx context.Context, client upstream.Client, who provider.Identity) (Grant, error) {
	return s.grant(ctx, "/sessions/external", client, who, "The ID token names nobody.")
}

// Refresh goes on with a session. It fails with problem.Unauthenticated where
// the token is no longer good.
func (s *Sessions) Refresh(ctx context.Context, client upstream.Client, refreshToken string) (Grant, error) {
	return s.grant(ctx, "/sessions/refresh", client, map[string]string{"refresh_token": refreshToken},
		"The refresh token is not valid or has expired: sign in again.")
}

func (s *Sessions) grant(ctx context.Context, path string, client upstream.Client, in any, refusal string) (Grant, error) {
	var given Grant
	status, err := s.users.Post(ctx, path, client, in, &given)
	if err != nil {
		return Grant{}, err
	}
	switch status {
	case http.StatusCreated, http.StatusOK:
		return given, nil
	case http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusBadRequest:
		return Grant{}, problem.New(problem.Unauthenticated, refusal, nil)
	case http.StatusForbidden:
		return Grant{}, problem.New(problem.Forbidden, "The identity provider has verified no email address of yours.", nil)
	case http.StatusConflict:
		return Grant{}, problem.New(problem.Conflict, "A user has this email already: sign in with your password.", nil)
	default:
		return Grant{}, unavailable(status)
	}
}

// Revoke ends the session of a refresh token, if there is one (RFC 7009, 2.2).
func (s *Sessions) Revoke(ctx context.Context, client upstream.Client, refreshToken string) error {
	status, err := s.users.Post(ctx, "/sessions/revoke", client, map[string]string{"refresh_token": refreshToken}, nil)
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
	known := s.revoked.Load()
	if known == nil {
		return false // requests come after Known: a replica that isn't ready gets none
	}
	_, revoked := (*known)[id]
	return revoked
}

// Known fails until user-service has answered which sessions were revoked.
func (s *Sessions) Known(context.Context) error {
	if s.revoked.Load() == nil {
		return errors.New("user-service hasn't answered yet which sessions were revoked")
	}
	return nil
}

// Watch keeps Revoked right until ctx is done.
func (s *Sessions) Watch(ctx context.Context) {
	answered := true
	background.Every(ctx, pollEvery, func() {
		err := s.poll(ctx)
		if err != nil && answered && ctx.Err() == nil {
			s.log.WarnContext(ctx, "which sessions were revoked is not known right now", "cause", err)
		}
		answered = err == nil
	})
}

// ended is user-service's form of a revoked session.
type ended struct {
	SessionID string    `json:"session_id"`
	At        time.Time `json:"at"`
}

// poll adds the sessions that were revoked since the last poll.
func (s *Sessions) poll(ctx context.Context) error {
	revoked := map[string]time.Time{}
	var newest time.Time
	heard := time.Unix(s.heard.Load(), 0)
	if known := s.revoked.Load(); known != nil {
		for id, at := range *known {
			if time.Since(at) < keepFor {
				revoked[id] = at
			}
			// A replica whose clock is ahead must not hide what the others write.
			if at.After(newest) && at.Before(heard) {
				newest = at
			}
		}
	}
	after := ended{At: newest.Add(-overlap)}
	for {
		var page struct {
			Revoked []ended `json:"revoked"`
			More    bool    `json:"more"`
		}
		query := url.Values{"since": {after.At.UTC().Format(time.RFC3339Nano)}, "after": {after.SessionID}}
		if err := s.users.Poll(ctx, "/sessions/revoked?"+query.Encode(), &page); err != nil {
			if s.revoked.Load() != nil {
				s.revoked.Store(&revoked) // the pages so far count; the next poll starts from the last complete one
			}
			return err
		}
		for _, one := range page.Revoked {
			revoked[one.SessionID] = one.At
			after = one
		}
		if !page.More || len(page.Revoked) == 0 {
			break
		}
	}
	s.revoked.Store(&revoked)
	s.heard.Store(time.Now().Unix())
	return nil
}
