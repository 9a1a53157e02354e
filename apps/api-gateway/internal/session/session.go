// Package session signs users in and out through user-service, which stores the sessions, and caches which
// sessions were revoked.
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

// pollEvery limits how long an access token outlives its session while user-service responds; otherwise the
// limit is the token's own validity. Polling the few revoked sessions avoids a lookup per request.
const pollEvery = time.Second

const (
	// keepFor is longer than the validity of an access token, and allows for clocks that differ.
	keepFor = 30 * time.Minute
	// overlap is how far each poll goes back: a session's end becomes visible when its transaction commits,
	// which may be after later ones.
	overlap = 15 * time.Second
)

// Sessions starts, refreshes and ends sessions.
type Sessions struct {
	users   *upstream.Service
	log     *slog.Logger
	revoked atomic.Pointer[map[string]time.Time] // when each session ended; nil before the first successful poll
	polled  atomic.Int64                         // Unix seconds of the last successful poll
}

// New returns the sessions in user-service.
func New(users *upstream.Service, log *slog.Logger, registry prometheus.Registerer) *Sessions {
	s := &Sessions{users: users, log: log}
	s.polled.Store(time.Now().Unix())
	promauto.With(registry).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gateway_revocations_age_seconds", Help: "Time since user-service last reported the revoked sessions.",
	}, func() float64 { return time.Since(time.Unix(s.polled.Load(), 0)).Seconds() })
	return s
}

// Grant is a started or refreshed session, in the form that user-service sends.
type Grant struct {
	token.Holder
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int    `json:"refresh_expires_in"` // seconds
}

// SignIn starts a session. It fails with problem.Unauthenticated if the email or the password is wrong.
func (s *Sessions) SignIn(ctx context.Context, client upstream.Client, email, password string) (Grant, error) {
	return s.grant(ctx, "/sessions", client, map[string]string{"email": email, "password": password}, "Email or password is wrong.")
}

// SignInExternal starts a session of a user of an identity provider. It fails with problem.Forbidden or
// problem.Conflict if the email isn't verified or belongs to another user.
func (s *Sessions) SignInExternal(ctx context.Context, client upstream.Client, user provider.Identity) (Grant, error) {
	return s.grant(ctx, "/sessions/external", client, user, "The ID token names no user, or was used before: sign in with the provider again.")
}

// Refresh extends a session. It fails with problem.Unauthenticated if the token isn't valid.
func (s *Sessions) Refresh(ctx context.Context, client upstream.Client, refreshToken string) (Grant, error) {
	return s.grant(ctx, "/sessions/refresh", client, map[string]string{"refresh_token": refreshToken},
		"The refresh token is not valid or has expired: sign in again.")
}

func (s *Sessions) grant(ctx context.Context, path string, client upstream.Client, in any, refusal string) (Grant, error) {
	var grant Grant
	status, err := s.users.Post(ctx, path, client, in, &grant)
	if err != nil {
		return Grant{}, err
	}
	switch status {
	case http.StatusCreated, http.StatusOK:
		return grant, nil
	case http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusBadRequest:
		return Grant{}, problem.New(problem.Unauthenticated, refusal, nil)
	case http.StatusForbidden:
		return Grant{}, problem.New(problem.Forbidden, "The identity provider has not verified a usable email.", nil)
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
		fmt.Errorf("user-service responds with %d", status))
}

// Revoked reports whether a session has been revoked.
func (s *Sessions) Revoked(id string) bool {
	known := s.revoked.Load()
	if known == nil {
		return false // before Known succeeds the replica isn't ready and gets no requests
	}
	_, revoked := (*known)[id]
	return revoked
}

// Known fails until user-service has reported the revoked sessions.
func (s *Sessions) Known(context.Context) error {
	if s.revoked.Load() == nil {
		return errors.New("user-service hasn't reported the revoked sessions yet")
	}
	return nil
}

// Watch updates the revoked sessions until ctx is done.
func (s *Sessions) Watch(ctx context.Context) {
	available := true
	background.Every(ctx, pollEvery, func() {
		err := s.poll(ctx)
		if err != nil && available && ctx.Err() == nil {
			s.log.WarnContext(ctx, "the revoked sessions are unknown right now", "cause", err)
		}
		available = err == nil
	})
}

// ended is a revoked session in the form that user-service sends.
type ended struct {
	SessionID string    `json:"session_id"`
	At        time.Time `json:"at"`
}

// poll adds the sessions that were revoked since the last poll.
func (s *Sessions) poll(ctx context.Context) error {
	revoked := map[string]time.Time{}
	var newest time.Time
	lastPoll := time.Unix(s.polled.Load(), 0)
	if known := s.revoked.Load(); known != nil {
		for id, at := range *known {
			if time.Since(at) < keepFor {
				revoked[id] = at
			}
			// A replica of user-service whose clock is ahead must not hide the entries of the others.
			if at.After(newest) && at.Before(lastPoll) {
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
				s.revoked.Store(&revoked) // keeps the pages so far
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
	s.polled.Store(time.Now().Unix())
	return nil
}
