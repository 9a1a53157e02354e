package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

// expectProblem fails the test unless response is a problem of that status and code.
func expectProblem(t *testing.T, response servicetest.Response, status int, code string) {
	t.Helper()
	p := servicetest.JSON[problemResponse](t, response)
	if response.Status != status || p.Code != code || p.Detail == "" || p.RequestID == "" ||
		response.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %+v, want %d %s", response, status, code)
	}
}

func TestBadInput(t *testing.T) {
	b := startBacking(t)
	s := servicetest.Start(t, name, commands(), b.env())
	user := b.users(1)[0]
	badBodies(t, s.HTTP, user)
	badIDs(t, s.HTTP, user)
	badQueries(t, s.HTTP, user)
	textsAreData(t, s.HTTP, user)
	t.Run("no line of the log is forged", func(t *testing.T) { noForgedLog(t, s, user) })
	t.Run("the user still exists", func(t *testing.T) {
		settle(t, []reading{read(s.HTTP, user)}, http.StatusOK, "")
	})
}

func badBodies(t *testing.T, base, user string) {
	for _, route := range []struct{ method, path, field string }{
		{"POST", "/users", "email"},
		{"PATCH", "/users/" + user, "name"},
		{"DELETE", "/users/" + user, "current_password"},
		{"POST", "/sessions", "email"},
		{"POST", "/sessions/refresh", "refresh_token"},
		{"POST", "/sessions/revoke", "refresh_token"},
	} {
		for _, c := range []struct {
			name, body string // %s is the field
			status     int
			code       string
		}{
			{"no JSON", `%s`, 400, "malformed"},
			{"half of an object", `{"%s":"a"`, 400, "malformed"},
			{"two objects", `{"%s":"a"} {}`, 400, "malformed"},
			{"nothing but space", " \n", 400, "malformed"},
			{"null", `null`, 400, "malformed"},
			{"an array", `[{"%s":"a"}]`, 400, "malformed"},
			{"a string", `"%s"`, 400, "malformed"},
			{"an unknown field", `{"%s":"a","is_admin":true}`, 400, "malformed"},
			{"a number for a text", `{"%s":7}`, 400, "malformed"},
			{"a huge number", `{"%s":1e999999}`, 400, "malformed"},
			{"an object for a text", `{"%s":{"a":"b"}}`, 400, "malformed"},
			{"deep nesting", `{"%s":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, 400, "malformed"},
			{"broken UTF-8", "{\"%s\":\"\xff\xfe\"}", 400, "malformed"},
			{"an oversized body", `{"%s":"` + strings.Repeat("a", 64<<10) + `"}`, 413, "too_large"},
		} {
			t.Run(fmt.Sprintf("%s %s: %s", route.method, strings.Replace(route.path, user, "{id}", 1), c.name), func(t *testing.T) {
				body := strings.ReplaceAll(c.body, "%s", route.field)
				expectProblem(t, servicetest.Call(t, route.method, base+route.path, body), c.status, c.code)
				// A body without a Content-Length has the same limit.
				expectProblem(t, chunked(t, route.method, base+route.path, body), c.status, c.code)
			})
		}
		t.Run(route.method+" "+route.path+": another media type", func(t *testing.T) {
			response := servicetest.Call(t, route.method, base+route.path, `{}`, "Content-Type: text/plain")
			expectProblem(t, response, 415, "unsupported_media_type")
		})
	}
}

func badIDs(t *testing.T, base, user string) {
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		for _, id := range []string{
			strings.ToUpper(user), "{" + user + "}", "urn:uuid:" + user, strings.ReplaceAll(user, "-", ""), user + "0", user[:35], user + "\x00",
			user + "\n", " " + user, "1", "-1", "null", "*", "..", "%2e%2e", "' OR '1'='1", "1; DROP TABLE users", "\xff", strings.Repeat("a", 4000),
		} {
			t.Run(fmt.Sprintf("%s of an invalid id: %.50q", method, id), func(t *testing.T) {
				expectProblem(t, servicetest.Call(t, method, base+"/users/"+url.PathEscape(id), body(method)), 404, "not_found")
			})
		}
	}
}

func badQueries(t *testing.T, base, user string) {
	for _, query := range []string{
		"limit=0", "limit=-1", "limit=101", "limit=1e2", "limit=0x10", "limit=ten", "limit=99999999999999999999", "limit=%00", "limit=5%0a",
		"after=1", "after=" + strings.ToUpper(user), "after={" + user + "}", "after=%27%20OR%201=1", "after=%ff", "after=" + strings.Repeat("a", 4000),
	} {
		t.Run(fmt.Sprintf("a list by %.50s", query), func(t *testing.T) {
			expectProblem(t, servicetest.Call(t, "GET", base+"/users?"+query, ""), 400, "malformed")
		})
	}
}

// textsAreData checks that texts with SQL, HTML or format directives are plain data.
func textsAreData(t *testing.T, base, user string) {
	t.Run("texts are stored and returned unchanged", func(t *testing.T) {
		for _, text := range []string{
			`'; DROP TABLE users; --`, `Robert"); DELETE FROM users; --`, `%s%n$1 ${jndi:ldap://x}`, `<script>alert(1)</script>`,
			`{"version":9}`, "Zoë 李 👩", `a\nb`,
		} {
			raw, err := json.Marshal(map[string]string{"name": text})
			if err != nil {
				t.Fatal(err)
			}
			written := servicetest.Call(t, "PATCH", base+"/users/"+user, string(raw))
			if got := servicetest.JSON[userResponse](t, written); written.Status != http.StatusOK || got.Name != text {
				t.Errorf("writing %q: %+v", text, written)
			}
			for _, cache := range []string{"miss", "hit"} {
				r := settle(t, []reading{read(base, user)}, http.StatusOK, cache)[0]
				if r.user.Name != text {
					t.Errorf("%q is read as %q", text, r.user.Name)
				}
			}
		}
	})

	t.Run("deceptive texts", func(t *testing.T) {
		for field, texts := range map[string][]string{
			"name": {"\u202eada", "a\u200bda", "a\u2028b", "👩\u200d💻", "\u00a0", "  ", "\u3164", "\ufe0f"},
			"email": {"\u212aim@example.com", "\u017fam@example.com", "a\u200b@example.com", "a@exa\u200bmple.com", "\u202ea@example.com",
				"a@b\u00fc_.example", "a@example.com\u3002"},
		} {
			for _, text := range texts {
				raw, err := json.Marshal(map[string]string{field: text})
				if err != nil {
					t.Fatal(err)
				}
				response := servicetest.Call(t, "PATCH", base+"/users/"+user, string(raw))
				if p := servicetest.JSON[problemResponse](t, response); response.Status != 422 || len(p.Errors) != 1 || p.Errors[0].Pointer != "/"+field {
					t.Errorf("%s %q: got %+v", field, text, response)
				}
			}
		}
	})

	t.Run("an email with SQL finds no user", func(t *testing.T) {
		for _, email := range []string{`' OR 1=1 --`, `a@example.com' --`, `%`, `_@example.com`} {
			raw, err := json.Marshal(map[string]string{"email": email, "password": "correct horse"})
			if err != nil {
				t.Fatal(err)
			}
			expectProblem(t, servicetest.Call(t, "POST", base+"/sessions", string(raw)), 401, "unauthenticated")
		}
	})

	t.Run("a NUL, which Postgres can't store", func(t *testing.T) {
		nul := `\u0000`
		expectProblem(t, servicetest.Call(t, "PATCH", base+"/users/"+user, `{"name":"a`+nul+`b"}`), 422, "invalid")
		expectProblem(t, servicetest.Call(t, "POST", base+"/sessions", `{"email":"a`+nul+`","password":"correct horse"}`), 401, "unauthenticated")
		expectProblem(t, servicetest.Call(t, "POST", base+"/sessions/refresh", `{"refresh_token":"`+nul+`"}`), 401, "unauthenticated")
	})
}

func noForgedLog(t *testing.T, s *servicetest.Running, user string) {
	const forged = `{"level":"ERROR","msg":"forged"}`
	for _, path := range []string{
		"/users/" + url.PathEscape("x\n"+forged), "/" + url.PathEscape("\r\n"+forged), "/users?after=" + url.QueryEscape("\n"+forged),
	} {
		servicetest.Call(t, "GET", s.HTTP+path, "", "X-Request-Id: "+strings.Repeat("a", 65), "Traceparent: "+forged)
	}
	raw, err := json.Marshal(map[string]string{"name": "a\n" + forged, "email": "\n" + forged})
	if err != nil {
		t.Fatal(err)
	}
	servicetest.Call(t, "PATCH", s.HTTP+"/users/"+user, string(raw))
	servicetest.Call(t, "POST", s.HTTP+"/sessions", string(raw))
	servicetest.Call(t, "FORGED", s.HTTP+"/users", "")
	backingtest.Eventually(t, soon, func() error { // lines are written together, a moment later
		if !strings.Contains(s.Logs(), `"method":"other"`) {
			return errors.New("the last request isn't logged")
		}
		return nil
	})
	for line := range strings.Lines(s.Logs()) {
		var entry struct{ Msg, Service string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Service != name || entry.Msg == "forged" {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// body returns a valid body for the method, so that the id decides.
func body(method string) string {
	if method == "PATCH" {
		return `{"name":"Eve"}`
	}
	if method == "DELETE" {
		return `{"current_password":"correct horse"}`
	}
	return ""
}

// chunked is like Call, without a Content-Length.
func chunked(t *testing.T, method, url, body string) servicetest.Response {
	t.Helper()
	request, err := http.NewRequest(method, url, io.MultiReader(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return servicetest.Response{Status: response.StatusCode, Header: response.Header, Body: string(raw)}
}
