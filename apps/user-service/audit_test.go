package main

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/servicetest"
)

type auditResponse struct {
	Entries []struct {
		Action, Detail, Address string
		Actor                   string `json:"actor_id"`
		User                    string `json:"user_id"`
	}
	Next string
}

type openResponse struct {
	Sessions []struct {
		ID, Address string
		UserAgent   string `json:"user_agent"`
	}
}

func TestSessionsAreListedEndedAndAudited(t *testing.T) {
	env := servicetest.Env(backingtest.StartPostgres(t).Env(), backingtest.StartRedis(t).Env(name), backingtest.StartStream(t).Env(name), map[string]string{"ADMIN_EMAIL": "owner@Example.com"})
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	if out, err := servicetest.Run(commands(), env, "admin"); err == nil || !strings.Contains(err.Error(), "sign up first") {
		t.Errorf("an unknown user is an admin: %v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	const from, agent = "X-Forwarded-For: 198.51.100.7", "User-Agent: curl/8"
	call := func(want int, method, path, body string, caller identity.Caller) servicetest.Response {
		t.Helper()
		response := direct(t, method, s.HTTP+path, body, caller, from, agent)
		if response.Status != want {
			t.Fatalf("%s %s: %+v, want %d", method, path, response, want)
		}
		return response
	}
	nobody, gateway := identity.Caller{}, identity.Caller{Role: identity.Gateway}
	id := servicetest.JSON[userResponse](t, call(201, "POST", "/users", `{"email":"owner@example.com","name":"A","password":"correct horse"}`, nobody)).ID
	owner := identity.Caller{UserID: id, Role: identity.User}
	admin := identity.Caller{UserID: "0190f3a0-0000-7000-8000-0000000000ad", Role: identity.Admin}
	signIn := func() sessionResponse {
		return servicetest.JSON[sessionResponse](t, call(201, "POST", "/sessions", `{"email":"owner@example.com","password":"correct horse"}`, gateway))
	}
	open := func() openResponse {
		return servicetest.JSON[openResponse](t, call(200, "GET", "/users/"+id+"/sessions", "", owner))
	}
	first, second := signIn(), signIn()
	if got := fmt.Sprintf("%+v", open().Sessions); got != fmt.Sprintf("[{ID:%s Address:198.51.100.7 UserAgent:curl/8} {ID:%s Address:198.51.100.7 UserAgent:curl/8}]", second.SessionID, first.SessionID) {
		t.Errorf("the sessions are %s", got)
	}
	call(204, "DELETE", "/users/"+id+"/sessions/"+first.SessionID, "", owner)
	call(404, "DELETE", "/users/"+id+"/sessions/"+first.SessionID, "", owner)
	if got := open().Sessions; len(got) != 1 || got[0].ID != second.SessionID {
		t.Errorf("after the end of %s: %+v", first.SessionID, got)
	}
	call(401, "POST", "/sessions/refresh", `{"refresh_token":"`+first.RefreshToken+`"}`, gateway)
	signIn()
	call(204, "DELETE", "/users/"+id+"/sessions", "", admin)
	if got := open().Sessions; len(got) != 0 {
		t.Errorf("after the end of all: %+v", got)
	}
	call(204, "POST", "/sessions/revoke", `{"refresh_token":"`+signIn().RefreshToken+`"}`, gateway)
	call(200, "PATCH", "/users/"+id, `{"name":"B","email":"owner@example.com","current_password":"correct horse"}`, owner)

	for range 2 { // the cache has the user
		call(200, "GET", "/users/"+id, "", owner)
	}
	if out, err := servicetest.Run(commands(), env, "admin"); err != nil {
		t.Fatalf("admin: %v\n%s", err, out)
	}
	if got := servicetest.JSON[userResponse](t, call(200, "GET", "/users/"+id, "", owner)); got.Role != "admin" {
		t.Errorf("the role of an admin is read as %s", got.Role)
	}
	if got := signIn(); got.Role != "admin" {
		t.Errorf("an admin signs in as %s", got.Role)
	}
	owner.Role = identity.Admin
	call(204, "DELETE", "/users/"+id, `{"current_password":"correct horse"}`, owner)

	var lines []string
	for after := ""; ; {
		page := servicetest.JSON[auditResponse](t, call(200, "GET", "/audit?limit=4&user="+id+after, "", admin))
		for _, e := range page.Entries {
			who := map[string]string{"": "-", id: "owner", admin.UserID: "admin"}[e.Actor]
			lines = append([]string{strings.TrimSpace(strings.Join([]string{e.Action, e.Detail, "by", who, e.Address}, " "))}, lines...)
		}
		if page.Next == "" {
			break
		}
		after = "&after=" + page.Next
	}
	const at = " 198.51.100.7"
	want := []string{
		"user.created  by -" + at, "session.begun  by owner" + at, "session.begun  by owner" + at, "session.ended  by owner" + at,
		"session.begun  by owner" + at, "sessions.ended  by admin" + at, "session.begun  by owner" + at, "session.ended  by -" + at,
		"user.changed email, name by owner" + at, "user.changed role admin, by the operator by -", "session.begun  by owner" + at, "user.deleted  by owner" + at,
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the audit log is\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if all := servicetest.JSON[auditResponse](t, call(200, "GET", "/audit", "", admin)); len(all.Entries) != len(want) {
		t.Errorf("of all users: %d entries", len(all.Entries))
	}
	call(http.StatusBadRequest, "GET", "/audit?user=x", "", admin)
}

// The audit log contains refusals, up to a limit.
func TestRefusalsAreAudited(t *testing.T) {
	database := backingtest.StartPostgres(t)
	env := servicetest.Env(database.Env(), backingtest.StartRedis(t).Env(name), backingtest.StartStream(t).Env(name))
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	call := func(want int, method, path, body string, caller identity.Caller) servicetest.Response {
		t.Helper()
		response := direct(t, method, s.HTTP+path, body, caller, "X-Forwarded-For: 198.51.100.7")
		if response.Status != want {
			t.Fatalf("%s %s: %+v, want %d", method, path, response, want)
		}
		return response
	}
	nobody, gateway := identity.Caller{}, identity.Caller{Role: identity.Gateway}
	admin := identity.Caller{UserID: "0190f3a0-0000-7000-8000-0000000000ad", Role: identity.Admin}
	id := servicetest.JSON[userResponse](t, call(201, "POST", "/users", `{"email":"a@example.com","name":"A","password":"correct horse"}`, nobody)).ID
	owner := identity.Caller{UserID: id, Role: identity.User}

	const bound = 10 // of an hour, an account and an action
	for range bound + 3 {
		call(401, "POST", "/sessions", `{"email":"a@example.com","password":"wrong"}`, gateway)
		call(401, "POST", "/sessions", `{"email":"nobody@example.com","password":"wrong"}`, gateway)
	}
	call(403, "PATCH", "/users/"+id, `{"email":"b@example.com","current_password":"wrong"}`, owner)
	call(403, "DELETE", "/users/"+id, `{"current_password":"wrong"}`, owner)
	call(422, "POST", "/auth/email", `{"token":"GUESSED"}`, nobody)
	call(422, "POST", "/auth/password", `{"token":"GUESSED","password":"correct horse"}`, nobody)
	call(201, "POST", "/sessions", `{"email":"a@example.com","password":"correct horse"}`, gateway)

	count := func(path string) map[string]int {
		t.Helper()
		counts := map[string]int{}
		for _, e := range servicetest.JSON[auditResponse](t, call(200, "GET", path, "", admin)).Entries {
			who := map[string]string{"": "-", id: "owner"}[e.Actor]
			of := map[string]string{id: "owner", uuid.Nil.String(): "none"}[e.User]
			counts[strings.Join([]string{e.Action, e.Detail, "by", who, "of", of, e.Address}, " ")]++
		}
		return counts
	}
	const at = " 198.51.100.7"
	mine := map[string]int{
		"user.created  by - of owner" + at: 1, "session.refused  by - of owner" + at: bound,
		"password.refused  by owner of owner" + at: 2, "session.begun  by owner of owner" + at: 1,
	}
	if got := count("/audit?limit=100&user=" + id); !maps.Equal(got, mine) {
		t.Errorf("of the user: %v, want %v", got, mine)
	}
	all := maps.Clone(mine)
	all["session.refused  by - of none"+at] = bound
	all["link.refused confirm by - of none"+at], all["link.refused reset by - of none"+at] = 1, 1
	if got := count("/audit?limit=100"); !maps.Equal(got, all) {
		t.Errorf("of all: %v, want %v", got, all)
	}

	// The limit is per hour: refusals of the previous hour stay.
	if _, err := database.Connect().Exec(t.Context(), "UPDATE audit SET at = at - interval '61 minutes'"); err != nil {
		t.Fatal(err)
	}
	call(401, "POST", "/sessions", `{"email":"a@example.com","password":"wrong"}`, gateway)
	mine["session.refused  by - of owner"+at]++
	if got := count("/audit?limit=100&user=" + id); !maps.Equal(got, mine) {
		t.Errorf("an hour later: %v, want %v", got, mine)
	}
}
