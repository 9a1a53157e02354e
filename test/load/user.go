package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// user is a user that sends requests, with the responses about their orders.
type user struct {
	email, password string
	token           string // written only before and after the run

	mu      sync.Mutex
	orders  []string // IDs of acknowledged orders
	unknown int      // number of orders whose request got no response
}

// signUp creates a user and signs them in.
func (r *Run) signUp(ctx context.Context) (*user, error) {
	u := &user{email: "load-" + strings.ToLower(rand.Text()) + "@platform.example", password: rand.Text()}
	err := r.read(ctx, request{method: http.MethodPost, path: "/api/users",
		body: map[string]string{"email": u.email, "name": "Load", "password": u.password}}, http.StatusCreated, nil)
	if err != nil {
		return nil, fmt.Errorf("sign up: %w", err)
	}
	if err := r.signIn(ctx, u); err != nil {
		return nil, errors.Join(err, fmt.Errorf("the user %s is not removed", u.email))
	}
	return u, nil
}

func (r *Run) signIn(ctx context.Context, u *user) error {
	var issued struct {
		AccessToken string `json:"access_token"`
	}
	err := r.read(ctx, request{method: http.MethodPost, path: "/api/auth/token",
		body: map[string]string{"email": u.email, "password": u.password}}, http.StatusOK, &issued)
	if err == nil && issued.AccessToken == "" {
		err = errors.New("the response contains no token")
	}
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	u.token = issued.AccessToken
	return nil
}

// removeWithin is the time limit for the removal of all users: each is a row.
const removeWithin = 30 * time.Second

// removeUsers removes the users, even if ctx is done. Their orders and notifications stay, because the API can't delete them.
func (r *Run) removeUsers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
	defer cancel()
	var failed []error
	for _, u := range r.users {
		err := poll(ctx, func() (bool, error) {
			err := r.read(ctx, request{method: http.MethodDelete, path: "/api/users/me", token: u.token,
				body: map[string]string{"current_password": u.password}}, http.StatusNoContent, nil)
			return false, err
		})
		if err != nil {
			failed = append(failed, fmt.Errorf("remove the user %s: %w", u.email, err))
		}
	}
	r.users = nil
	r.kept.CloseIdleConnections()
	return errors.Join(failed...)
}

// poll retries with increasing pauses until there is no error, the error is final, or ctx is done. It then returns the last error
// that isn't about ctx.
func poll(ctx context.Context, try func() (final bool, err error)) error {
	var last error
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		final, err := try()
		if err == nil || final {
			return err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if !wait(ctx, pause) {
			return last
		}
	}
}
