package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

type sessionResponse struct {
	UserID           string `json:"user_id"`
	Role             string `json:"role"`
	SessionID        string `json:"session_id"`
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int    `json:"refresh_expires_in"`
}

func TestSessions(t *testing.T) {
	postgres, redis, stream := backingtest.StartPostgres(t), backingtest.StartRedis(t), backingtest.StartStream(t)
	env := servicetest.Env(postgres.Env(), redis.Env(name), stream.Env(name))
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	post := func(t *testing.T, path, body string) servicetest.Response {
		t.Helper()
		return servicetest.Call(t, "POST", s.HTTP+path, body)
	}
	signUp := func(t *testing.T, email string) string {
		t.Helper()
		return servicetest.JSON[userResponse](t, post(t, "/users", fmt.Sprintf(`{"email":%q,"name":"Ada","password":"correct horse"}`, email))).ID
	}
	signIn := func(t *testing.T, email string) sessionResponse {
		t.Helper()
		a := post(t, "/sessions", fmt.Sprintf(`{"email":%q,"password":"correct horse"}`, email))
		if a.Status != http.StatusCreated {
			t.Fatalf("signing in: %+v", a)
		}
		return servicetest.JSON[sessionResponse](t, a)
	}
	refresh := func(t *testing.T, token string) (int, sessionResponse) {
		t.Helper()
		a := post(t, "/sessions/refresh", fmt.Sprintf(`{"refresh_token":%q}`, token))
		return a.Status, servicetest.JSON[sessionResponse](t, a)
	}
	revoked := func(t *testing.T, session string) bool {
		t.Helper()
		return strings.Contains(servicetest.Call(t, "GET", s.HTTP+"/sessions/revoked", "").Body, session)
	}

	t.Run("each refresh returns a new token", func(t *testing.T) {
		user := signUp(t, "a@example.com")
		session := signIn(t, "A@example.com")
		if session.UserID != user || session.Role != "user" || session.RefreshExpiresIn != 30*24*3600 {
			t.Errorf("started %+v", session)
		}
		status, next := refresh(t, session.RefreshToken)
		if status != http.StatusOK || next.RefreshToken == session.RefreshToken || next.SessionID != session.SessionID || next.UserID != user {
			t.Errorf("%d %+v", status, next)
		}
		if status, _ := refresh(t, next.RefreshToken); status != http.StatusOK {
			t.Errorf("the next token: %d", status)
		}
		if revoked(t, session.SessionID) {
			t.Error("the session has ended")
		}
	})

	t.Run("concurrent refreshes all get the same next token", func(t *testing.T) {
		signUp(t, "b@example.com")
		session := signIn(t, "b@example.com")
		var mu sync.Mutex
		given := map[string]int{}
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() {
				status, next := refresh(t, session.RefreshToken)
				mu.Lock()
				defer mu.Unlock()
				given[fmt.Sprint(status, next.RefreshToken)]++
			})
		}
		asking.Wait()
		if len(given) != 1 {
			t.Errorf("responds with %v", given)
		}
	})

	t.Run("a much older token ends the session", func(t *testing.T) {
		signUp(t, "c@example.com")
		first := signIn(t, "c@example.com")
		_, second := refresh(t, first.RefreshToken)
		_, third := refresh(t, second.RefreshToken)
		if status, _ := refresh(t, first.RefreshToken); status != http.StatusUnauthorized {
			t.Errorf("the first token again: %d", status)
		}
		if status, _ := refresh(t, third.RefreshToken); status != http.StatusUnauthorized || !revoked(t, first.SessionID) {
			t.Errorf("the newest after that: %d", status)
		}
		if !strings.Contains(s.Logs(), "a used refresh token was sent again") || strings.Contains(s.Logs(), first.RefreshToken) {
			t.Error("the log doesn't report it, or contains the token")
		}
	})

	t.Run("sign-out ends the session of its token", func(t *testing.T) {
		signUp(t, "d@example.com")
		session, other := signIn(t, "d@example.com"), signIn(t, "d@example.com")
		_, othersSecret, _ := strings.Cut(other.RefreshToken, ".")
		forged := session.SessionID + "." + othersSecret
		for _, token := range []string{forged, "x", ""} {
			if a := post(t, "/sessions/revoke", fmt.Sprintf(`{"refresh_token":%q}`, token)); a.Status != http.StatusNoContent {
				t.Errorf("%q: %+v", token, a)
			}
		}
		if revoked(t, session.SessionID) {
			t.Fatal("a forged token ended the session")
		}
		post(t, "/sessions/revoke", fmt.Sprintf(`{"refresh_token":%q}`, session.RefreshToken))
		if status, _ := refresh(t, session.RefreshToken); status != http.StatusUnauthorized || !revoked(t, session.SessionID) {
			t.Errorf("after signing out: %d", status)
		}
		if status, _ := refresh(t, other.RefreshToken); status != http.StatusOK {
			t.Errorf("the other session: %d", status)
		}
	})

	for what, change := range map[string]func(id string) servicetest.Response{
		"a new password": func(id string) servicetest.Response {
			return servicetest.Call(t, "PATCH", s.HTTP+"/users/"+id, `{"password":"another horse","current_password":"correct horse"}`)
		},
		"another role": func(id string) servicetest.Response {
			admin := servicetest.JSON[userResponse](t, servicetest.Call(t, "POST", s.HTTP+"/users",
				`{"email":"root@example.com","name":"R","password":"admin's horse","role":"admin"}`, asAdmin)).ID
			return servicetest.Call(t, "PATCH", s.HTTP+"/users/"+id, `{"role":"admin","current_password":"admin's horse"}`, "X-User-Id: "+admin, asAdmin)
		},
		"deleting the user": func(id string) servicetest.Response {
			return servicetest.Call(t, "DELETE", s.HTTP+"/users/"+id, `{"current_password":"correct horse"}`)
		},
	} {
		t.Run(what+" ends all sessions of the user and of no other", func(t *testing.T) {
			email := strings.ReplaceAll(what, " ", "-") + "@example.com"
			id := signUp(t, email)
			signUp(t, "not-"+email)
			one, two, other := signIn(t, email), signIn(t, email), signIn(t, "not-"+email)
			if a := change(id); a.Status >= 300 {
				t.Fatalf("%+v", a)
			}
			for _, ended := range []sessionResponse{one, two} {
				if status, _ := refresh(t, ended.RefreshToken); status != http.StatusUnauthorized || !revoked(t, ended.SessionID) {
					t.Errorf("the session is still open: %d", status)
				}
			}
			if status, _ := refresh(t, other.RefreshToken); status != http.StatusOK {
				t.Errorf("another user's: %d", status)
			}
		})
	}

	t.Run("a new name or email ends no session", func(t *testing.T) {
		id := signUp(t, "e@example.com")
		session := signIn(t, "e@example.com")
		servicetest.Call(t, "PATCH", s.HTTP+"/users/"+id, `{"name":"Grace","email":"f@example.com","current_password":"correct horse"}`)
		if status, _ := refresh(t, session.RefreshToken); status != http.StatusOK {
			t.Errorf("got %d", status)
		}
	})

	t.Run("emails are stored in canonical form", func(t *testing.T) {
		if got := servicetest.JSON[userResponse](t, post(t, "/users", `{"email":"Ana@Bücher.example","name":"A","password":"correct horse"}`)); got.Email != "Ana@xn--bcher-kva.example" {
			t.Errorf("signed up as %+v", got)
		}
		for _, email := range []string{"ana@bücher.example", "ANA@BU\u0308CHER.example", "ana@XN--bcher-kva.EXAMPLE"} {
			signIn(t, email)
			again := post(t, "/users", fmt.Sprintf(`{"email":%q,"name":"A","password":"correct horse"}`, email))
			if again.Status != http.StatusConflict {
				t.Errorf("%s may sign up, too: %d", email, again.Status)
			}
		}
		id := signUp(t, "Ben@straße.example")
		signIn(t, "ben@xn--strae-oqa.example")
		// The gateway counts failed sign-ins per email: one account must not have several.
		for _, email := range []string{"a@xn--example-.com", "a@xn--example-.xn--com-", "ana@xn--xn--bcher-kva-.example", "ana@xn--bcher-kva.example."} {
			if a := post(t, "/sessions", fmt.Sprintf(`{"email":%q,"password":"correct horse"}`, email)); a.Status != http.StatusUnauthorized {
				t.Errorf("signing in as %s: %d", email, a.Status)
			}
		}
		if _, err := postgres.Connect().Exec(t.Context(), "UPDATE users SET email = 'Ben@straße.example' WHERE id = $1", id); err != nil { // as versions before stored it
			t.Fatal(err)
		}
		if session := signIn(t, "ben@straße.example"); session.UserID != id {
			t.Errorf("signed in as %s", session.UserID)
		}
	})

	t.Run("emails differ by the case of letters outside ASCII", func(t *testing.T) {
		if one, other := signUp(t, "ö@example.com"), signUp(t, "Ö@Example.com"); one == "" || other == "" || one == other {
			t.Errorf("got %q and %q", one, other)
		}
		signUp(t, "kim@example.com")
		if a := post(t, "/sessions", `{"email":"\u212aim@example.com","password":"correct horse"}`); a.Status != http.StatusUnauthorized {
			t.Errorf("KELVIN SIGN signs kim in: %d", a.Status)
		}
	})

	t.Run("composed and decomposed characters are the same password", func(t *testing.T) {
		id, current := signUp(t, "zoe@example.com"), "correct horse"
		for _, c := range [][2]string{{"p\u00e4sswort!", "pa\u0308sswort!"}, {"pa\u0308sswort?", "p\u00e4sswort?"}, {"o\ufb03ce pass", "office pass"}} {
			servicetest.Call(t, "PATCH", s.HTTP+"/users/"+id, fmt.Sprintf(`{"password":%q,"current_password":%q}`, c[0], current))
			current = c[1]
			for _, password := range c {
				if a := post(t, "/sessions", fmt.Sprintf(`{"email":"zoe@example.com","password":%q}`, password)); a.Status != http.StatusCreated {
					t.Errorf("%+q for %+q: %d", password, c[0], a.Status)
				}
			}
		}
	})

	t.Run("a malformed token", func(t *testing.T) {
		session := signIn(t, "e@example.com")
		id, secret, _ := strings.Cut(session.RefreshToken, ".")
		for name, token := range map[string]string{
			"nothing": "", "an id alone": id, "a secret alone": secret, "upper case": strings.ToUpper(id) + "." + secret,
			"a longer secret": session.RefreshToken + "AA", "padding": session.RefreshToken + "=", "another secret": id + "." + strings.Repeat("A", 43),
			"SQL": "' OR 1=1 --." + secret, "a huge one": strings.Repeat("A", 60<<10),
		} {
			if status, _ := refresh(t, token); status != http.StatusUnauthorized {
				t.Errorf("%s: %d", name, status)
			}
		}
	})

	t.Run("no secret is stored", func(t *testing.T) {
		session := signIn(t, "b@example.com")
		_, next := refresh(t, session.RefreshToken)
		rows, err := postgres.Connect().Query(t.Context(), "SELECT sessions::text FROM sessions")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				t.Fatal(err)
			}
			for _, token := range []string{session.RefreshToken, next.RefreshToken} {
				if _, secret, _ := strings.Cut(token, "."); strings.Contains(text, secret) {
					t.Error("the table contains a secret")
				}
			}
		}
	})
}
