package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/servicetest"
)

func TestUsersOfAnIdentityProvider(t *testing.T) {
	postgres := backingtest.StartPostgres(t)
	env := servicetest.Env(postgres.Env(), backingtest.StartRedis(t).Env(name), backingtest.StartStream(t).Env(name))
	if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	s := servicetest.Start(t, name, commands(), env)
	gateway := identity.Caller{Role: identity.Gateway}
	post := func(path, body string) servicetest.Response {
		t.Helper()
		return direct(t, "POST", s.HTTP+path, body, gateway)
	}
	as := func(issuer, subject, email string, verified bool, name string) servicetest.Response {
		t.Helper()
		return post("/sessions/external", fmt.Sprintf(`{"iss":%q,"sub":%q,"email":%q,"email_verified":%t,"name":%q}`, issuer, subject, email, verified, name))
	}
	const one = "https://one.example"
	local := servicetest.JSON[userResponse](t, servicetest.Call(t, "POST", s.HTTP+"/users", `{"email":"local@example.com","name":"L","password":"correct horse"}`))

	first := as(one, "1", "Ada@Example.com", true, "Ada")
	if first.Status != 201 {
		t.Fatalf("a new user: %+v", first)
	}
	ada := servicetest.JSON[sessionResponse](t, first)
	for what, c := range map[string]struct {
		got    servicetest.Response
		status int
		user   string // "": another one than ada, and local
	}{
		"the same again":             {as(one, "1", "ada@example.com", true, "Ada"), 201, ada.UserID},
		"with another email":         {as(one, "1", "other@example.com", false, "B"), 201, ada.UserID},
		"with a user's email":        {as(one, "1", "local@example.com", true, "B"), 201, ada.UserID},
		"without an email":           {as(one, "1", "", false, ""), 201, ada.UserID},
		"another issuer's":           {as("https://two.example", "1", "two@example.com", true, "T"), 201, ""},
		"the email of a local user":  {as(one, "2", "LOCAL@example.com", true, "L"), 409, ""},
		"the email of another one":   {as(one, "2", "ada@example.com", true, "L"), 409, ""},
		"an email that isn't proven": {as(one, "2", "fresh@example.com", false, "F"), 403, ""},
		"an email that can't be":     {as(one, "2", "no", true, "F"), 403, ""},
		"an email with a zero byte":  {as(one, "2", "a\u0000@example.com", true, "F"), 400, ""}, // %q writes no JSON
		"no subject":                 {as(one, "", "x@example.com", true, "F"), 422, ""},
		"no issuer":                  {as("", "2", "x@example.com", true, "F"), 422, ""},
	} {
		if c.got.Status != c.status {
			t.Errorf("%s: %+v, want %d", what, c.got, c.status)
		}
		if c.status != 201 {
			continue
		}
		if got := servicetest.JSON[sessionResponse](t, c.got); got.Role != "user" || c.user != "" && got.UserID != c.user || c.user == "" && (got.UserID == ada.UserID || got.UserID == local.ID) {
			t.Errorf("%s: signed in as %+v", what, got)
		}
	}
	for _, body := range []string{`{"iss":"https://one.example","sub":"\u0000"}`, `{"iss":"https://one.example","sub":"2","email":"a\u0000@example.com","email_verified":true}`} {
		if a := post("/sessions/external", body); a.Status != 422 && a.Status != 403 {
			t.Errorf("%s: %+v", body, a)
		}
	}
	with := func(token, subject string) int {
		t.Helper()
		body := fmt.Sprintf(`{"iss":%q,"sub":%q,"email":"new%s@example.com","email_verified":true,"name":"N"}`, one, subject, subject)
		return direct(t, "POST", s.HTTP+"/sessions/external", body, gateway, "X-Id-Token: "+token).Status
	}
	if a, b, c := with("t1", "1"), with("t1", "1"), with("t2", "1"); a != 201 || b != 401 || c != 201 {
		t.Errorf("with an ID token: %d, with the same again: %d, with another: %d", a, b, c)
	}
	var at sync.WaitGroup // exactly one request signs in
	var begun atomic.Int64
	for range 8 {
		at.Go(func() {
			switch status := with("t3", "t"); status {
			case 201:
				begun.Add(1)
			case 401:
			default:
				t.Errorf("concurrently with an ID token: %d", status)
			}
		})
	}
	if at.Wait(); begun.Load() != 1 {
		t.Errorf("%d sessions have one ID token", begun.Load())
	}
	asUser := identity.Caller{UserID: ada.UserID, Role: identity.User}
	if got := servicetest.JSON[userResponse](t, direct(t, "GET", s.HTTP+"/users/"+ada.UserID, "", asUser)); got.Email != "Ada@example.com" || got.Name != "Ada" {
		t.Errorf("the user is %+v", got)
	}
	nameless := servicetest.JSON[sessionResponse](t, as(one, "3", "grace@example.com", true, " "))
	if got := servicetest.JSON[userResponse](t, direct(t, "GET", s.HTTP+"/users/"+nameless.UserID, "", identity.Caller{UserID: nameless.UserID, Role: identity.User})); got.Name != "grace" {
		t.Errorf("without a name: %+v", got)
	}
	for _, password := range []string{"correct horse", " ", "$argon2id$"} { // none is right where there is none
		if a := post("/sessions", fmt.Sprintf(`{"email":"ada@example.com","password":%q}`, password)); a.Status != 401 {
			t.Errorf("with a password: %+v", a)
		}
	}

	var log []string
	for _, e := range servicetest.JSON[auditResponse](t, direct(t, "GET", s.HTTP+"/audit?user="+ada.UserID, "", identity.Caller{UserID: local.ID, Role: identity.Admin})).Entries {
		log = append(log, e.Action+" "+e.Detail)
	}
	if len(log) != 11 || log[10] != "user.created by an identity provider" || strings.Count(strings.Join(log, ","), "session.refused") != 3 || strings.Count(strings.Join(log, ","), "session.begun by an identity provider") != 7 {
		t.Errorf("the audit log is %q", log)
	}

	admin := servicetest.JSON[userResponse](t, servicetest.Call(t, "POST", s.HTTP+"/users", `{"email":"admin@example.com","name":"A","password":"correct horse","role":"admin"}`, asAdmin))
	gone := direct(t, "DELETE", s.HTTP+"/users/"+ada.UserID, `{"current_password":"correct horse"}`, identity.Caller{UserID: admin.ID, Role: identity.Admin})
	if gone.Status != 204 {
		t.Fatalf("deleting: %+v", gone)
	}
	if a := as(one, "1", "ada@example.com", false, "Ada"); a.Status != 403 {
		t.Errorf("a deleted user's identity: %+v", a)
	}
	if again := servicetest.JSON[sessionResponse](t, as(one, "1", "ada@example.com", true, "Ada")); again.UserID == ada.UserID || again.UserID == "" {
		t.Errorf("the deleted user is back: %+v", again)
	}

	// exactly one request creates the user
	users := sync.Map{}
	for range 8 {
		at.Go(func() {
			switch a := as(one, "9", "nine@example.com", true, "Nine"); a.Status {
			case 201:
				users.Store(servicetest.JSON[sessionResponse](t, a).UserID, true)
			case 409: // and comes again
			default:
				t.Errorf("concurrently: %+v", a)
			}
		})
	}
	at.Wait()
	n := 0
	users.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d users have one identity", n)
	}
}
