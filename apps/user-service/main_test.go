package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

const asAdmin = "X-User-Role: admin"

type userResponse struct {
	ID, Email, Name, Role string
	Version               int
}

type pageResponse struct {
	Users []userResponse
	Next  string
}

type problemResponse struct {
	Code, Detail string
	RequestID    string `json:"request_id"`
	Errors       []struct{ Pointer string }
}

// All subtests share one Postgres and one Redis, because starting them takes longer than all tests.
func TestUserService(t *testing.T) {
	postgres, redis, stream := backingtest.StartPostgres(t), backingtest.StartRedis(t), backingtest.StartStream(t)
	env := servicetest.Env(postgres.Env(), redis.Env(name), stream.Env(name), map[string]string{
		"DEMO_USER_EMAIL": "demo@example.com", "DEMO_USER_PASSWORD": "first password",
		"SERVICE_VERSION": "0123456789ab", "SERVICE_COLOUR": "blue",
	})

	t.Run("migrate", func(t *testing.T) {
		var running sync.WaitGroup
		for range 3 {
			running.Go(func() {
				if out, err := servicetest.Run(commands(), env, "migrate"); err != nil {
					t.Errorf("one of several concurrent runs failed: %v\n%s", err, out)
				}
			})
		}
		running.Wait()
	})

	database := postgres.Connect()
	s := servicetest.Start(t, name, commands(), env)
	servicetest.CountersBeginAtZero(t, s.Ops)
	create := func(t *testing.T, email string) userResponse {
		t.Helper()
		response := servicetest.Call(t, "POST", s.HTTP+"/users", fmt.Sprintf(`{"email":%q,"name":"Ada","password":"correct horse"}`, email))
		if response.Status != http.StatusCreated {
			t.Fatalf("creating %s: %+v", email, response)
		}
		return servicetest.JSON[userResponse](t, response)
	}
	get := func(t *testing.T, id string, status int, cache string) servicetest.Response {
		t.Helper()
		response := servicetest.Call(t, "GET", s.HTTP+"/users/"+id, "")
		if response.Status != status || response.Header.Get("X-Cache") != cache {
			t.Fatalf("GET: got %d %s, want %d %s\n%s", response.Status, response.Header.Get("X-Cache"), status, cache, response.Body)
		}
		return response
	}

	t.Run("health", func(t *testing.T) {
		response := servicetest.Call(t, "GET", s.HTTP+"/health", "")
		want := `{"colour":"blue","service":"user-service","status":"ok","version":"0123456789ab"}`
		if response.Status != http.StatusOK || strings.TrimSpace(response.Body) != want {
			t.Errorf("got %+v, want %s", response, want)
		}
	})

	t.Run("it passes its own verification", func(t *testing.T) { servicetest.Verifies(t, name, commands(), env, s.HTTP) })

	t.Run("a user is read from Postgres first, then from Redis", func(t *testing.T) {
		u := create(t, "cached@example.com")
		get(t, u.ID, http.StatusOK, "miss")
		second := get(t, u.ID, http.StatusOK, "hit")
		if got := servicetest.JSON[userResponse](t, second); got != u {
			t.Errorf("got %+v, want %+v", got, u)
		}
		client := redis.Client()
		defer func() { _ = client.Close() }()
		if ttl := client.TTL(t.Context(), "user:"+u.ID).Val(); ttl < 260*time.Second || ttl > 300*time.Second {
			t.Errorf("TTL is %s, want 270 to 300 s", ttl)
		}
	})

	t.Run("nothing stale is read after a write", func(t *testing.T) {
		u := create(t, "changed@example.com")
		get(t, u.ID, http.StatusOK, "miss")
		changed := servicetest.Call(t, "PATCH", s.HTTP+"/users/"+u.ID, `{"name":"Grace"}`)
		if changed.Status != http.StatusOK {
			t.Fatalf("PATCH: %+v", changed)
		}
		for _, cache := range []string{"miss", "hit"} {
			got := servicetest.JSON[userResponse](t, get(t, u.ID, http.StatusOK, cache))
			if got.Name != "Grace" || got.Version != 2 {
				t.Errorf("after the write, %s: %+v", cache, got)
			}
		}
		if deleted := servicetest.Call(t, "DELETE", s.HTTP+"/users/"+u.ID, `{"current_password":"correct horse"}`); deleted.Status != http.StatusNoContent {
			t.Fatalf("DELETE: %+v", deleted)
		}
		get(t, u.ID, http.StatusNotFound, "miss")
	})

	t.Run("an absence is cached", func(t *testing.T) {
		get(t, "01890000-0000-7000-8000-000000000000", http.StatusNotFound, "miss")
		get(t, "01890000-0000-7000-8000-000000000000", http.StatusNotFound, "hit")
	})

	t.Run("lists by pages in the order of creation", func(t *testing.T) {
		for i := range 5 {
			create(t, fmt.Sprintf("page%d@example.com", i))
		}
		var emails []string
		for after := ""; ; {
			p := servicetest.JSON[pageResponse](t, servicetest.Call(t, "GET", s.HTTP+"/users?limit=2"+after, ""))
			for _, u := range p.Users {
				emails = append(emails, u.Email)
			}
			if p.Next == "" {
				break
			}
			after = "&after=" + p.Next
		}
		want := "cached@example.com page0@example.com page1@example.com page2@example.com page3@example.com page4@example.com"
		if got := strings.Join(emails, " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})

	t.Run("a version that the client has is not sent again", func(t *testing.T) {
		created := servicetest.Call(t, "POST", s.HTTP+"/users", `{"email":"known@example.com","name":"Ada","password":"correct horse"}`)
		path := "/users/" + servicetest.JSON[userResponse](t, created).ID
		if created.Header.Get("ETag") != `"1"` {
			t.Errorf("created with %v", created.Header)
		}
		for _, c := range []struct {
			condition, cache string
			status           int
		}{
			{`"1"`, "miss", 304}, {`"1"`, "hit", 304}, {`W/"1"`, "hit", 304}, {`"0", "1"`, "hit", 304}, {"*", "hit", 304},
			{`"2"`, "hit", 200}, {`"one"`, "hit", 200},
		} {
			a := servicetest.Call(t, "GET", s.HTTP+path, "", "If-None-Match: "+c.condition)
			if a.Status != c.status || a.Header.Get("ETag") != `"1"` || a.Header.Get("X-Cache") != c.cache || (a.Body == "") != (c.status == 304) {
				t.Errorf("If-None-Match: %s: got %+v, want %d by a %s", c.condition, a, c.status, c.cache)
			}
		}
		expectProblem(t, servicetest.Call(t, "GET", s.HTTP+path, "", "If-None-Match: 1"), 400, "malformed")
		gone := servicetest.Call(t, "GET", s.HTTP+"/users/01890000-0000-7000-8000-000000000001", "", "If-None-Match: *")
		expectProblem(t, gone, 404, "not_found")
	})

	t.Run("a user is changed only in the version in If-Match", func(t *testing.T) {
		path := "/users/" + create(t, "named@example.com").ID
		session := servicetest.JSON[sessionResponse](t, servicetest.Call(t, "POST", s.HTTP+"/sessions",
			`{"email":"named@example.com","password":"correct horse"}`))
		const rename, password, proof = `{"name":"Grace"}`, `{"password":"another horse","current_password":"correct horse"}`,
			`{"current_password":"correct horse"}`
		recorded := func() (entries int) {
			t.Helper()
			if err := database.QueryRow(t.Context(), "SELECT count(*) FROM audit WHERE action NOT LIKE '%refused'").Scan(&entries); err != nil {
				t.Fatal(err)
			}
			return entries
		}
		for _, c := range []struct {
			method, body, condition string
			status                  int
			code, tag               string
		}{
			{"PATCH", rename, `"2"`, 412, "precondition_failed", ""},
			{"PATCH", rename, `W/"1"`, 412, "precondition_failed", ""},
			{"PATCH", password, `"0", "2"`, 412, "precondition_failed", ""},
			{"PATCH", rename, `1`, 400, "malformed", ""},
			{"DELETE", proof, `"2"`, 412, "precondition_failed", ""},
			{"DELETE", proof, `"one"`, 412, "precondition_failed", ""},
			{"DELETE", proof, `"1`, 400, "malformed", ""},
			{"PATCH", rename, `"1"`, 200, "", `"2"`},
			{"PATCH", rename, `"1"`, 412, "precondition_failed", ""},
			{"PATCH", rename, `"1", "2"`, 200, "", `"3"`},
			{"PATCH", rename, `*`, 200, "", `"4"`},
			{"DELETE", proof, `"3"`, 412, "precondition_failed", ""},
			{"DELETE", proof, `"4"`, 204, "", ""},
			{"PATCH", rename, `"4"`, 404, "not_found", ""},
			{"DELETE", proof, `*`, 403, "forbidden", ""}, // the caller no longer exists, so their password can't be checked
		} {
			before, entries := servicetest.Call(t, "GET", s.HTTP+path, ""), recorded()
			a := servicetest.Call(t, c.method, s.HTTP+path, c.body, "If-Match: "+c.condition)
			if a.Status != c.status || a.Header.Get("ETag") != c.tag {
				t.Errorf("%s %s of %s: got %+v, want %d with %s", c.method, c.body, c.condition, a, c.status, c.tag)
			}
			if c.code == "" {
				continue
			}
			expectProblem(t, a, c.status, c.code)
			if after := servicetest.Call(t, "GET", s.HTTP+path, ""); after.Body != before.Body && before.Status == http.StatusOK || recorded() != entries {
				t.Errorf("%s %s of %s changes %s to %s", c.method, c.body, c.condition, before.Body, after.Body)
			}
			if c.status == http.StatusPreconditionFailed && strings.Contains(
				servicetest.Call(t, "GET", s.HTTP+"/sessions/revoked", "").Body, session.SessionID) {
				t.Errorf("%s %s of %s ends the session", c.method, c.body, c.condition)
			}
		}
	})

	t.Run("of concurrent changes to one version, one succeeds", func(t *testing.T) {
		path := "/users/" + create(t, "contended@example.com").ID
		var made, refused atomic.Int32
		var asking sync.WaitGroup
		for i := range 10 {
			asking.Go(func() {
				switch a := servicetest.Call(t, "PATCH", s.HTTP+path, fmt.Sprintf(`{"name":"N%d"}`, i), `If-Match: "1"`); a.Status {
				case http.StatusOK:
					made.Add(1)
				case http.StatusPreconditionFailed:
					refused.Add(1)
				default:
					t.Errorf("got %+v", a)
				}
			})
		}
		asking.Wait()
		if made.Load() != 1 || refused.Load() != 9 {
			t.Errorf("%d are made and %d are refused", made.Load(), refused.Load())
		}
	})

	t.Run("refuses", func(t *testing.T) {
		taken := create(t, "taken@example.com")
		for _, c := range []struct {
			name, method, path, body string
			status                   int
			code                     string
		}{
			{"an email that is taken, in any case", "POST", "/users", `{"email":"TAKEN@example.com","name":"A","password":"12345678"}`, 409, "conflict"},
			{"a role chosen by no admin", "POST", "/users", `{"email":"r@example.com","name":"A","password":"12345678","role":"admin"}`, 403, "forbidden"},
			{"a role changed by no admin", "PATCH", "/users/" + taken.ID, `{"role":"admin"}`, 403, "forbidden"},
			{"a change of nothing", "PATCH", "/users/" + taken.ID, `{}`, 422, "invalid"},
			{"an unknown path", "GET", "/nothing", "", 404, "not_found"},
			{"an unknown method", "PUT", "/users", `{}`, 405, "method_not_allowed"},
		} {
			t.Run(c.name, func(t *testing.T) {
				expectProblem(t, servicetest.Call(t, c.method, s.HTTP+c.path, c.body), c.status, c.code)
			})
		}
	})

	t.Run("reports all invalid fields", func(t *testing.T) {
		p := servicetest.JSON[problemResponse](t, servicetest.Call(t, "POST", s.HTTP+"/users", `{"email":"no","name":" ","password":"short"}`))
		if len(p.Errors) != 3 {
			t.Errorf("got %+v, want email, name and password", p)
		}
	})

	t.Run("only an admin may choose a role", func(t *testing.T) {
		response := servicetest.Call(t, "POST", s.HTTP+"/users", `{"email":"root@example.com","name":"R","password":"12345678","role":"admin"}`, asAdmin)
		if u := servicetest.JSON[userResponse](t, response); u.Role != "admin" {
			t.Errorf("got %+v", response)
		}
	})

	t.Run("seed-demo, and the check of credentials", func(t *testing.T) {
		verify := func(email, password string) servicetest.Response {
			return servicetest.Call(t, "POST", s.HTTP+"/sessions", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password))
		}
		seed := func(password string) {
			t.Helper()
			out, err := servicetest.Run(commands(), servicetest.Env(env, map[string]string{"DEMO_USER_PASSWORD": password}), "seed-demo")
			if err != nil || strings.Contains(out, password) || strings.Contains(out, "demo@example.com") {
				t.Fatalf("seed-demo: %v\n%s", err, out)
			}
		}
		seed("first password")
		seed("first password")
		if response := verify("Demo@Example.com", "first password"); response.Status != http.StatusCreated {
			t.Errorf("right password: %+v", response)
		}
		seed("second password")
		wrong, unknown := verify("demo@example.com", "first password"), verify("nobody@example.com", "first password")
		if wrong.Status != http.StatusUnauthorized || unknown.Status != http.StatusUnauthorized {
			t.Fatalf("got %+v and %+v", wrong, unknown)
		}
		a, b := servicetest.JSON[problemResponse](t, wrong), servicetest.JSON[problemResponse](t, unknown)
		if a.Code != b.Code || a.Detail != b.Detail {
			t.Errorf("an unknown user differs from a wrong password: %+v, %+v", a, b)
		}
	})

	t.Run("metrics count by pattern, never by path", func(t *testing.T) {
		metrics := servicetest.Call(t, "GET", s.Ops+"/metrics", "").Body
		for _, want := range []string{
			`user_service_requests_total{endpoint="/users/{id}",method="GET",status="2xx"}`,
			`user_service_request_duration_seconds_count{endpoint="/users",method="POST"}`,
			"user_service_cache_hits_total", "user_service_cache_misses_total",
			"postgres_pool_acquired_connections", "redis_pool_connections", "redis_command_duration_seconds_count",
			`service_info{colour="blue",service="user-service",version="0123456789ab"} 1`,
		} {
			if !strings.Contains(metrics, want) {
				t.Errorf("/metrics lacks %s", want)
			}
		}
	})

	t.Run("logs contain no personal data", func(t *testing.T) {
		for _, private := range []string{"example.com", "correct horse", "first password", "Ada"} {
			if strings.Contains(s.Logs(), private) {
				t.Errorf("the log contains %q", private)
			}
		}
	})
}

func TestInvalidConfigurationIsReportedAtOnce(t *testing.T) {
	_, err := servicetest.Run(commands(), map[string]string{"POSTGRES_PORT": "many", "LOG_LEVEL": "loud"})
	if err == nil {
		t.Fatal("it started")
	}
	for _, want := range []string{"POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_PASSWORD", "REDIS_ADDR", "LOG_LEVEL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}
