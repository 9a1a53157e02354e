package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/servicetest"
	"platform.example/apps/user-service/internal/audit"
	"platform.example/apps/user-service/internal/store"
	"platform.example/apps/user-service/internal/user"
)

func connect(t *testing.T, env map[string]string) *pgxpool.Pool {
	t.Helper()
	at := postgres.ReadConfig(config.From(func(name string) (string, bool) { value, ok := env[name]; return value, ok }))
	pool, err := postgres.Connect(t.Context(), at, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestLinksByEmail(t *testing.T) {
	database, stream := backingtest.StartPostgres(t), backingtest.StartStream(t)
	env := servicetest.Env(database.Env(), backingtest.StartRedis(t).Env(name), stream.Env(name))
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	client := stream.Client()
	defer func() { _ = client.Close() }()

	type published struct {
		what event.Type
		event.User
	}
	read := map[event.Stream]int{}
	// nextOf waits for the given number of events of a stream since the last call, and returns them.
	nextOf := func(t *testing.T, stream event.Stream, want int) (events []published) {
		t.Helper()
		backingtest.Eventually(t, 20*time.Second, func() error {
			entries, err := client.XRange(t.Context(), string(stream), "-", "+").Result()
			if err != nil || len(entries) < read[stream]+want {
				return fmt.Errorf("%d events, want %d: %w", len(entries)-read[stream], want, err)
			}
			for _, entry := range entries[read[stream]:] {
				e, err := stream.Parse(entry.Values)
				if err != nil {
					t.Fatal(err)
				}
				u, err := event.Data[event.User](e)
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, published{e.Type, u})
			}
			read[stream] = len(entries)
			return nil
		})
		return events
	}
	next := func(t *testing.T, want int) []published { t.Helper(); return nextOf(t, event.Mails, want) }
	call := func(t *testing.T, want int, method, path, body string, caller identity.Caller) servicetest.Response {
		t.Helper()
		response := direct(t, method, s.HTTP+path, body, caller)
		if response.Status != want {
			t.Fatalf("%s %s: %+v, want %d", method, path, response, want)
		}
		return response
	}
	nobody, gateway := identity.Caller{}, identity.Caller{Role: identity.Gateway}
	signUp := func(t *testing.T, email string) (identity.Caller, string) {
		t.Helper()
		id := servicetest.JSON[userResponse](t, call(t, 201, "POST", "/users", fmt.Sprintf(`{"email":%q,"name":"A","password":"correct horse"}`, email), nobody)).ID
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
			t.Errorf("the response is %q", a.Body)
		}
	}
	signIn := func(t *testing.T, want int, email, password string) string {
		t.Helper()
		a := call(t, want, "POST", "/sessions", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password), gateway)
		return servicetest.JSON[sessionResponse](t, a).RefreshToken
	}

	t.Run("an email is confirmed once", func(t *testing.T) {
		who, secret := signUp(t, "a@example.com")
		if got := emailOf(t, who); got != "a@example.com false" {
			t.Errorf("got %s", got)
		}
		reset(t, 422, secret) // a link is valid for one purpose
		confirm(t, 422, secret+"A")
		confirm(t, 204, secret)
		confirm(t, 422, secret)
		if got := emailOf(t, who); got != "a@example.com true" {
			t.Errorf("got %s", got)
		}
		call(t, 409, "POST", "/users/"+who.UserID+"/confirmation", "", who)
	})

	t.Run("a new email takes effect once it is confirmed, and the former one gets a notification", func(t *testing.T) {
		who, first := signUp(t, "b@example.com")
		confirm(t, 204, first)
		call(t, 409, "POST", "/users/"+who.UserID+"/confirmation", "", who)
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
		if email := emailOf(t, who); email != "b@example.com true" {
			t.Errorf("before it is confirmed the email is %s", email)
		}
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

		change("back@example.com")
		undone := next(t, 2)[0].Secret
		change("b3@example.com") // which is the email that it is
		confirm(t, 422, undone)

		change("b4@example.com")
		taken := next(t, 2)[0].Secret
		signUp(t, "b4@example.com")
		confirm(t, 409, taken)
		call(t, 409, "PATCH", "/users/"+who.UserID, `{"email":"A@example.com","current_password":"correct horse"}`, who)
	})

	t.Run("a new password ends all links", func(t *testing.T) {
		who, first := signUp(t, "p@example.com")
		confirm(t, 204, first)
		call(t, 200, "PATCH", "/users/"+who.UserID, `{"email":"thief@example.com","current_password":"correct horse"}`, who)
		thiefs := next(t, 2)[0].Secret
		request(t, "p@example.com")
		old := next(t, 1)[0].Secret
		call(t, 200, "PATCH", "/users/"+who.UserID, `{"password":"a new horse","current_password":"correct horse"}`, who)
		if got := next(t, 1)[0]; got.what != event.PasswordChanged || got.Email != "p@example.com" {
			t.Errorf("got %+v", got)
		}
		confirm(t, 422, thiefs)
		reset(t, 422, old)
	})

	t.Run("an email and a password change in one request", func(t *testing.T) {
		who, first := signUp(t, "both@example.com")
		confirm(t, 204, first)
		request(t, "both@example.com")
		old := next(t, 1)[0].Secret
		call(t, 200, "PATCH", "/users/"+who.UserID, `{"email":"both2@example.com","password":"a new horse","current_password":"correct horse"}`, who)
		for _, got := range next(t, 3) {
			if got.what == event.EmailToConfirm {
				confirm(t, 204, got.Secret)
			} else if got.Email != "both@example.com" {
				t.Errorf("got %+v", got)
			}
		}
		if email := emailOf(t, who); email != "both2@example.com true" {
			t.Errorf("the email is %s", email)
		}
		reset(t, 422, old)
	})

	t.Run("requests of others don't suppress a notification", func(t *testing.T) {
		who, first := signUp(t, "n@example.com")
		confirm(t, 204, first)
		for range 6 {
			request(t, "n@example.com")
		}
		next(t, 4) // with the email of the sign-up, five in an hour
		call(t, 200, "PATCH", "/users/"+who.UserID, `{"email":"thief2@example.com","current_password":"correct horse"}`, who)
		if got := next(t, 2)[1]; got.what != event.EmailChangeRequested || got.Email != "n@example.com" {
			t.Errorf("got %+v", got)
		}
		call(t, 200, "PATCH", "/users/"+who.UserID, `{"password":"a new horse","current_password":"correct horse"}`, who)
		if got := next(t, 1)[0]; got.what != event.PasswordChanged || got.Email != "n@example.com" {
			t.Errorf("got %+v", got)
		}
		password := "a new horse"
		for range 6 {
			call(t, 200, "PATCH", "/users/"+who.UserID, fmt.Sprintf(`{"password":%q,"current_password":%q}`, password, password), who)
		}
		next(t, 4)
		var sent int
		if err := database.Connect().QueryRow(t.Context(), "SELECT count(*) FROM mails WHERE user_id = $1 AND type = $2",
			who.UserID, event.PasswordChanged).Scan(&sent); err != nil || sent != 5 {
			t.Errorf("%d notifications of seven changes, want 5: %v", sent, err)
		}
	})

	t.Run("a password that is replaced concurrently authorises no change", func(t *testing.T) {
		who, _ := signUp(t, "q@example.com")
		users := store.New(connect(t, env))
		id := uuid.MustParse(who.UserID)
		name, stale := "B", user.Guard{Caller: id, PasswordHash: "a former hash"}
		_, err := users.Update(t.Context(), id, user.Change{Name: &name, Guard: stale}, "", audit.Entry{})
		for what, err := range map[string]error{"a change": err, "a deletion": users.Delete(t.Context(), id, stale, audit.Entry{})} {
			if refused, ok := errors.AsType[*problem.Error](err); !ok || refused.Code != problem.Forbidden {
				t.Errorf("%s: %v", what, err)
			}
		}
	})

	t.Run("an email that the previous release has changed isn't confirmed, and a link to the previous email is invalid", func(t *testing.T) {
		who, first := signUp(t, "r@example.com")
		confirm(t, 204, first)
		request(t, "r@example.com")
		old := next(t, 1)[0].Secret
		if _, err := database.Connect().Exec(t.Context(), "UPDATE users SET email = 'r2@example.com', version = version + 1 WHERE id = $1", who.UserID); err != nil {
			t.Fatal(err)
		}
		reset(t, 422, old)
		if got := emailOf(t, who); got != "r2@example.com false" {
			t.Errorf("got %s", got)
		}
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

	t.Run("the emails to an address are limited, from all clients together", func(t *testing.T) {
		who, _ := signUp(t, "d@example.com")
		other, _ := signUp(t, "other@example.com")
		request(t, "d@example.com")
		for range 2 {
			call(t, 202, "POST", "/users/"+who.UserID+"/confirmation", "", who)
		}
		call(t, 204, "DELETE", "/users/"+who.UserID, `{"current_password":"correct horse"}`, who)
		change := func(want int) servicetest.Response {
			return call(t, want, "PATCH", "/users/"+other.UserID, `{"email":"D@example.com","current_password":"correct horse"}`, other)
		}
		change(200)
		if a := change(429); a.Header.Get("Retry-After") != "3600" {
			t.Errorf("got %+v", a)
		}
		if got := next(t, 4); len(got) != 4 {
			t.Errorf("%d emails are sent after the first, want 4", len(got))
		}
		call(t, 201, "POST", "/users", `{"email":"d@example.com","name":"A","password":"correct horse"}`, nobody) // without an email
		request(t, "d@example.com")
	})

	t.Run("a link expires", func(t *testing.T) {
		_, secret := signUp(t, "e@example.com")
		if _, err := database.Connect().Exec(t.Context(), "UPDATE links SET expires_at = now() - interval '1 s' WHERE email = 'e@example.com'"); err != nil {
			t.Fatal(err)
		}
		confirm(t, 422, secret)
	})

	t.Run("the event of a deletion contains no email", func(t *testing.T) {
		who, _ := signUp(t, "f@example.com")
		call(t, 204, "DELETE", "/users/"+who.UserID, `{"current_password":"correct horse"}`, who)
		got := nextOf(t, event.Users, 2)
		if got := got[len(got)-1]; got.what != event.UserDeleted || got.ID.String() != who.UserID || got.Email+got.Secret != "" {
			t.Errorf("got %+v", got)
		}
	})

	t.Run("no secret is left in the database or in the log", func(t *testing.T) {
		backingtest.Eventually(t, 10*time.Second, func() error {
			var secrets int
			if err := database.Connect().QueryRow(t.Context(), "SELECT count(*) FROM mails WHERE payload ? 'secret'").Scan(&secrets); err != nil || secrets > 0 {
				return fmt.Errorf("%d events contain a secret: %w", secrets, err)
			}
			return nil
		})
		entries, err := client.XRange(t.Context(), string(event.Mails), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			e, _ := event.Mails.Parse(entry.Values)
			if u, _ := event.Data[event.User](e); u.Secret != "" && strings.Contains(s.Logs(), u.Secret) {
				t.Error("the log contains a secret")
			}
		}
	})
}
