package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/servicetest"
)

func TestLinksByEmail(t *testing.T) {
	postgres, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	env := servicetest.Env(postgres.Env(), backingtest.StartRedis(t).Env(name), stream.Env(name))
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	client := stream.Client()
	defer func() { _ = client.Close() }()

	type told struct {
		what event.Type
		event.User
	}
	var read int
	// next returns the events since the last call, once there are so many.
	next := func(t *testing.T, want int) (events []told) {
		t.Helper()
		backingtest.Eventually(t, 20*time.Second, func() error {
			entries, err := client.XRange(t.Context(), string(event.Users), "-", "+").Result()
			if err != nil || len(entries) < read+want {
				return fmt.Errorf("%d events, want %d: %w", len(entries)-read, want, err)
			}
			for _, entry := range entries[read:] {
				e, err := event.Users.Parse(entry.Values)
				if err != nil {
					t.Fatal(err)
				}
				u, err := event.Data[event.User](e)
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, told{e.Type, u})
			}
			read = len(entries)
			return nil
		})
		return events
	}
	call := func(t *testing.T, want int, method, path, body string, caller identity.Caller) servicetest.Answer {
		t.Helper()
		answer := servicetest.Direct(t, method, s.HTTP+path, body, name, caller)
		if answer.Status != want {
			t.Fatalf("%s %s: %+v, want %d", method, path, answer, want)
		}
		return answer
	}
	nobody, gateway := identity.Caller{}, identity.Caller{Role: identity.Gateway}
	signUp := func(t *testing.T, email string) (identity.Caller, string) {
		t.Helper()
		id := servicetest.JSON[userAnswer](t, call(t, 201, "POST", "/users", fmt.Sprintf(`{"email":%q,"name":"A","password":"correct horse"}`, email), nobody)).ID
		got := next(t, 1)[0]
		if got.what != event.EmailToConfirm || got.Email != email || got.ID.String() != id || len(got.Secret) < 26 {
			t.Fatalf("after signing up: %+v", got)
		}
		return identity.Caller{UserID: id, Role: identity.User}, got.Secret
	}
	emailOf := func(t *testing.T, who identity.Caller) string {
		t.Helper()
		var u struct {
			Email          string
			EmailConfirmed bool `json:"email_confirmed"`
		}
		if err := json.Unmarshal([]byte(call(t, 200, "GET", "/users/"+who.UserID, "", who).Body), &u); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(u.Email, " ", u.EmailConfirmed)
	}
	confirm := func(t *testing.T, want int, secret string) {
		t.Helper()
		call(t, want, "POST", "/auth/email", fmt.Sprintf(`{"token":%q}`, secret), nobody)
	}
	reset := func(t *testing.T, want int, secret string) {
		t.Helper()
		call(t, want, "POST", "/auth/password", fmt.Sprintf(`{"token":%q,"password":"a new horse"}`, secret), nobody)
	}
	request := func(t *testing.T, email string) {
		t.Helper()
		if a := call(t, 202, "POST", "/auth/password-reset", fmt.Sprintf(`{"email":%q}`, email), nobody); a.Body != "" {
			t.Errorf("the answer says %q", a.Body)
		}
	}
	signIn := func(t *testing.T, want int, email, password string) string {
		t.Helper()
		a := call(t, want, "POST", "/sessions", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password), gateway)
		return servicetest.JSON[sessionAnswer](t, a).RefreshToken
	}

	t.Run("an email is confirmed once", func(t *testing.T) {
		who, secret := signUp(t, "a@example.com")
		if got := emailOf(t, who); got != "a@example.com false" {
			t.Errorf("got %s", got)
		}
		reset(t, 422, secret) // a link is good for one purpose
		confirm(t, 422, secret+"A")
		confirm(t, 204, secret)
		confirm(t, 422, secret)
		if got := emailOf(t, who); got != "a@example.com true" {
			t.Errorf("got %s", got)
		}
		call(t, 409, "POST", "/users/"+who.UserID+"/confirmation", "", who)
	})

	t.Run("a new email takes effect once it is confirmed, and the former one is told", func(t *testing.T) {
		who, first := signUp(t, "b@example.com")
		change := func(email string) {
			t.Helper()
			call(t, 200, "PATCH", "/users/"+who.UserID, fmt.Sprintf(`{"email":%q,"current_password":"correct horse"}`, email), who)
		}
		change("b2@example.com")
		got := next(t, 2)
		if got[0].what != event.EmailToConfirm || got[0].Email != "b2@example.com" || got[1].what != event.EmailChangeRequested ||
			got[1].Email != "b@example.com" || got[1].Secret != "" {
			t.Errorf("got %+v", got)
		}
		if email := emailOf(t, who); email != "b@example.com false" {
			t.Errorf("before it is confirmed the email is %s", email)
		}
		confirm(t, 422, first) // another email was asked for since
		request(t, "b@example.com")
		old := next(t, 1)[0].Secret
		change("b3@example.com")
		last := next(t, 2)[0].Secret
		confirm(t, 422, got[0].Secret)
		confirm(t, 204, last)
		if email := emailOf(t, who); email != "b3@example.com true" {
			t.Errorf("got %s", email)
		}
		reset(t, 422, old) // it was sent to an email that isn't the user's any more

		change("b4@example.com")
		taken := next(t, 2)[0].Secret
		signUp(t, "b4@example.com")
		confirm(t, 409, taken)
		call(t, 409, "PATCH", "/users/"+who.UserID, `{"email":"A@example.com","current_password":"correct horse"}`, who)
	})

	t.Run("a password is reset once, and all sessions end", func(t *testing.T) {
		_, unconfirmed := signUp(t, "c@example.com")
		token := signIn(t, 201, "c@example.com", "correct horse")
		request(t, "nobody@example.com")
		request(t, "C@example.com")
		got := next(t, 1)
		if len(got) != 1 || got[0].what != event.PasswordResetRequested || got[0].Email != "c@example.com" {
			t.Fatalf("got %+v", got)
		}
		confirm(t, 422, got[0].Secret)
		call(t, 422, "POST", "/auth/password", fmt.Sprintf(`{"token":%q,"password":"short"}`, got[0].Secret), nobody)
		reset(t, 204, got[0].Secret)
		reset(t, 422, got[0].Secret)
		confirm(t, 422, unconfirmed)
		if got := next(t, 1)[0]; got.what != event.PasswordChanged || got.Email != "c@example.com" {
			t.Errorf("got %+v", got)
		}
		call(t, 401, "POST", "/sessions/refresh", fmt.Sprintf(`{"refresh_token":%q}`, token), gateway)
		signIn(t, 401, "c@example.com", "correct horse")
		signIn(t, 201, "c@example.com", "a new horse")
	})

	t.Run("few emails are sent in an hour", func(t *testing.T) {
		who, _ := signUp(t, "d@example.com")
		for range 8 {
			request(t, "d@example.com")
		}
		for range 4 {
			call(t, 202, "POST", "/users/"+who.UserID+"/confirmation", "", who)
		}
		a := call(t, 429, "POST", "/users/"+who.UserID+"/confirmation", "", who)
		if a.Header.Get("Retry-After") != "3600" {
			t.Errorf("got %+v", a)
		}
		if got := next(t, 9); len(got) != 9 {
			t.Errorf("%d emails are sent, want 5 and 4", len(got))
		}
	})

	t.Run("a link expires", func(t *testing.T) {
		_, secret := signUp(t, "e@example.com")
		if _, err := postgres.Connect().Exec(t.Context(), "UPDATE links SET expires_at = now() - interval '1 s' WHERE email = 'e@example.com'"); err != nil {
			t.Fatal(err)
		}
		confirm(t, 422, secret)
	})

	t.Run("a deletion is told without an email", func(t *testing.T) {
		who, _ := signUp(t, "f@example.com")
		call(t, 204, "DELETE", "/users/"+who.UserID, `{"current_password":"correct horse"}`, who)
		if got := next(t, 1)[0]; got.what != event.UserDeleted || got.ID.String() != who.UserID || got.Email+got.Secret != "" {
			t.Errorf("got %+v", got)
		}
	})

	t.Run("no secret is left in the database or in the log", func(t *testing.T) {
		backingtest.Eventually(t, 10*time.Second, func() error {
			var secrets int
			if err := postgres.Connect().QueryRow(t.Context(), "SELECT count(*) FROM outbox WHERE payload ? 'secret'").Scan(&secrets); err != nil || secrets > 0 {
				return fmt.Errorf("%d events hold a secret: %w", secrets, err)
			}
			return nil
		})
		entries, err := client.XRange(t.Context(), string(event.Users), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			e, _ := event.Users.Parse(entry.Values)
			if u, _ := event.Data[event.User](e); u.Secret != "" && strings.Contains(s.Logs(), u.Secret) {
				t.Error("the log holds a secret")
			}
		}
	})
}
