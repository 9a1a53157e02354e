package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

// TestFaults runs the service without Redis and without Postgres.
func TestFaults(t *testing.T) {
	b := startBacking(t)
	env := servicetest.Env(b.env(), map[string]string{
		// Nothing responds at this address: no background work queries Postgres while queries are counted.
		"LIVE_URL": "http://127.0.0.1:1",
	})
	s := servicetest.Start(t, name, commands(), env)
	t.Run("Redis", func(t *testing.T) { redisFaults(t, b, s) })
	t.Run("Redis slow", func(t *testing.T) { slowRedis(t, b) })
	t.Run("Redis unavailable and Postgres slow", func(t *testing.T) { noRedisAndSlowPostgres(t, b) })
	t.Run("an expiry of a hot key", func(t *testing.T) { hotKey(t, b, s, env) })
	t.Run("Postgres", func(t *testing.T) { postgresFaults(t, b, s) })
}

func redisFaults(t *testing.T, b *backing, s *servicetest.Running) {
	nothing := func() {}
	for _, c := range []struct {
		name     string
		do, undo func()
		spared   bool // Redis doesn't respond, and soon gets no more requests
	}{
		{"wiped", b.redis.Wipe, nothing, false},
		{"hung", b.redis.Hang, b.redis.Resume, true},
		{"stopped", b.redis.Stop, b.redis.Start, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			users := b.users(300)
			settle(t, readAll(s.HTTP, users), http.StatusOK, "miss")
			warm(t, s.HTTP, users[0])
			c.do()
			settle(t, readAll(s.HTTP, users), http.StatusOK, "miss")
			if c.spared {
				before, failed := metric(t, s.Ops, "user_service_cache_spared_total"), metric(t, s.Ops, "redis_command_errors_total")
				settle(t, readAll(s.HTTP, users), http.StatusOK, "miss")
				spared, failures := metric(t, s.Ops, "user_service_cache_spared_total")-before, metric(t, s.Ops, "redis_command_errors_total")-failed
				if spared < 270 || failures > 30 {
					t.Errorf("of 300 reads %g failed in Redis and %g didn't use it", failures, spared)
				}
				eventuallyReady(t, s.Ops, http.StatusOK, `"redis":"unwell"`)
				change := servicetest.Call(t, "PATCH", s.HTTP+"/users/"+users[0], `{"name":"Grace"}`)
				if change.Status != http.StatusOK || !strings.Contains(s.Logs(), "reporting a write to the cache failed") {
					t.Errorf("a write responds with %+v, or the failed report to the cache isn't logged", change)
				}
			}
			c.undo()
			warm(t, s.HTTP, users[1])
			eventuallyReady(t, s.Ops, http.StatusOK, `"redis":"ok"`)
		})
	}
}

func slowRedis(t *testing.T, b *backing) {
	proxy := backingtest.StartProxy(t, b.redis.Addr())
	s := servicetest.Start(t, name, commands(), servicetest.Env(b.env(), proxy.Env(b.redis.Env(name))))
	users := b.users(300)
	settle(t, readAll(s.HTTP, users), http.StatusOK, "miss")
	proxy.Delay(time.Second)
	settle(t, readAll(s.HTTP, users), http.StatusOK, "miss")
	// A late response must not be taken for the response to another command.
	proxy.Delay(0)
	backingtest.Eventually(t, soon, func() error {
		hits := 0
		for _, r := range settle(t, readAll(s.HTTP, users), http.StatusOK, "") {
			if r.cache == "hit" {
				hits++
			}
		}
		if hits < len(users) {
			return fmt.Errorf("%d of %d reads come from the cache again", hits, len(users))
		}
		return nil
	})
}

// noRedisAndSlowPostgres checks that connections stay within their limit and that no request hangs.
func noRedisAndSlowPostgres(t *testing.T, b *backing) {
	proxy, users, watch := backingtest.StartProxy(t, b.postgres.Addr()), b.users(500), b.postgres.Connect()
	others := b.connections(watch)
	s := servicetest.Start(t, name, commands(), servicetest.Env(b.env(), proxy.Env(b.postgres.Env())))
	b.redis.Stop()
	defer b.redis.Start()
	proxy.Delay(50 * time.Millisecond) // so that 500 reads take longer than they may
	var readings []reading
	most := b.mostConnections(watch, func() { readings = readAll(s.HTTP, users) }) - others
	if most > maxConns {
		t.Errorf("%d connections to Postgres, want at most %d", most, maxConns)
	}
	status := map[int]int{}
	for _, r := range settle(t, readings, 0, "miss") {
		status[r.status]++
		if r.status != http.StatusOK && (r.status != http.StatusServiceUnavailable || r.retryAfter == "") {
			t.Errorf("%+v: want 200, or 503 with Retry-After", r)
		}
	}
	t.Logf("%d connections, responds with %v", most, status)
	if status[http.StatusOK] == 0 || status[http.StatusServiceUnavailable] == 0 {
		t.Errorf("responds with %v: want some of both", status)
	}
}

// hotKey lets a key that many clients read expire repeatedly.
func hotKey(t *testing.T, b *backing, s *servicetest.Running, env map[string]string) {
	const readers, expiries = 200, 20
	replicas := []*servicetest.Running{s, servicetest.Start(t, name, commands(), env)}
	client, user := b.redis.Client(), b.users(1)[0]
	defer func() { _ = client.Close() }()
	warm(t, s.HTTP, user)
	sum := func(name string) (n float64) {
		for _, replica := range replicas {
			n += metric(t, replica.Ops, name)
		}
		return n
	}
	// Only queries take connections from the pool here, also those of a scrape for the backlogs of two outboxes.
	const queries, scraped = "postgres_pool_acquires_total", 2
	// If Redis doesn't respond in time, as on a busy machine, a query is needed.
	late := func() float64 { return sum("redis_command_errors_total") + sum("user_service_cache_spared_total") }
	queriesBefore, lateBefore := sum(queries), late()

	ended := make(chan struct{})
	var reading sync.WaitGroup
	for i := range readers {
		reading.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if r := read(replicas[i%len(replicas)].HTTP, user); r.status != http.StatusOK {
					t.Errorf("%+v", r)
					return
				}
			}
		})
	}
	for range expiries {
		if n := client.Del(t.Context(), "user:"+user).Val(); n != 1 {
			t.Errorf("%d keys were there to expire", n)
		}
		backingtest.Eventually(t, soon, func() error { return client.Get(t.Context(), "user:"+user).Err() })
	}
	close(ended)
	reading.Wait()
	made, failed := sum(queries)-queriesBefore, late()-lateBefore
	t.Logf("%g queries for %d expiries with %d readers at %d replicas; %g times Redis was late", made, expiries, readers, len(replicas), failed)
	const scrapes = 4 // of each replica between the first and the last reading of queries
	if made < expiries || made > float64((expiries+scrapes*scraped)*len(replicas))+failed {
		t.Errorf("%g queries, want one to %d per expiry", made, len(replicas))
	}
}

func postgresFaults(t *testing.T, b *backing, s *servicetest.Running) {
	signUp := func() (user, refreshToken string) {
		t.Helper()
		u := servicetest.JSON[userResponse](t, servicetest.Call(t, "POST", s.HTTP+"/users", `{"email":"p@example.com","name":"Ada","password":"correct horse"}`))
		session := servicetest.JSON[sessionResponse](t, servicetest.Call(t, "POST", s.HTTP+"/sessions", `{"email":"p@example.com","password":"correct horse"}`))
		return u.ID, session.RefreshToken
	}
	user, token := signUp()
	for _, c := range []struct {
		name     string
		do, undo func()
	}{
		{"killed", b.postgres.Stop, b.postgres.Start},
		{"hung", b.postgres.Hang, b.postgres.Resume},
	} {
		t.Run(c.name, func(t *testing.T) {
			unread := b.users(1)[0]
			warm(t, s.HTTP, user)
			c.do()
			var asking sync.WaitGroup
			asking.Go(func() { unavailable(t, s.HTTP, user, unread, token) })
			for range 20 {
				settle(t, []reading{read(s.HTTP, user)}, http.StatusOK, "hit")
			}
			eventuallyReady(t, s.Ops, http.StatusServiceUnavailable, `"postgres":"unwell"`)
			if live := servicetest.Call(t, "GET", s.Ops+"/livez", ""); live.Status != http.StatusOK {
				t.Errorf("/livez depends on Postgres: %+v", live)
			}
			asking.Wait()
			c.undo()
			// The service recovers without a restart.
			backingtest.Eventually(t, soon, func() error {
				if response := servicetest.Call(t, "PATCH", s.HTTP+"/users/"+user, `{"name":"C"}`); response.Status != http.StatusOK {
					return fmt.Errorf("writing: %+v", response)
				}
				return nil
			})
			if response := servicetest.Call(t, "POST", s.HTTP+"/sessions/refresh", `{"refresh_token":"`+token+`"}`); response.Status != http.StatusOK {
				t.Errorf("refreshing: %+v", response)
			} else {
				token = servicetest.JSON[sessionResponse](t, response).RefreshToken
			}
			eventuallyReady(t, s.Ops, http.StatusOK, `"postgres":"ok"`)
		})
	}
}

// unavailable sends requests to every route that needs Postgres, concurrently.
func unavailable(t *testing.T, base, user, unread, token string) {
	var asking sync.WaitGroup
	for _, request := range []struct{ method, path, body string }{
		{"GET", "/users/" + unread, ""},
		{"GET", "/users", ""},
		{"POST", "/users", `{"email":"q@example.com","name":"Ada","password":"correct horse"}`},
		{"PATCH", "/users/" + user, `{"name":"B"}`},
		{"DELETE", "/users/" + unread, `{"current_password":"correct horse"}`},
		{"POST", "/sessions", `{"email":"p@example.com","password":"correct horse"}`},
		{"POST", "/sessions/refresh", `{"refresh_token":"` + token + `"}`},
		{"POST", "/sessions/revoke", `{"refresh_token":"` + token + `"}`},
		{"GET", "/sessions/revoked", ""},
	} {
		asking.Go(func() {
			begin := time.Now()
			response, err := send(base, request.method, request.path, request.body)
			if err != nil || response.Status != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || time.Since(begin) > responseWithin {
				t.Errorf("%s %s: after %s %+v, %v; want 503 with Retry-After", request.method, request.path, time.Since(begin), response, err)
			}
		})
	}
	asking.Wait()
}

func eventuallyReady(t *testing.T, ops string, status int, holds string) {
	t.Helper()
	backingtest.Eventually(t, soon, func() error {
		response := servicetest.Call(t, "GET", ops+"/readyz", "")
		if response.Status != status || !strings.Contains(response.Body, holds) {
			return fmt.Errorf("/readyz: %d %s, want %d and %s", response.Status, response.Body, status, holds)
		}
		return nil
	})
}

// A replica that is killed during writes loses no acknowledged write, in Postgres or in the cache.
func TestKilledReplicaLosesNoAcknowledgedWrite(t *testing.T) {
	b := startBacking(t)
	binary := servicetest.Build(t, userService, b.env())
	killed, other := binary.Start(), binary.Start()
	users := b.users(20)
	acknowledged := make([]int, len(users)) // versions
	enough, ended := make(chan struct{}, 1000), make(chan struct{})
	var writing sync.WaitGroup
	for i, user := range users {
		writing.Go(func() {
			for n := 1; ; n++ {
				response, err := send(killed.HTTP, "PATCH", "/users/"+user, fmt.Sprintf(`{"name":"Name %d"}`, n))
				if err != nil || response.Status != http.StatusOK {
					return // it was killed
				}
				acknowledged[i] = servicetest.JSON[userResponse](t, response).Version
				enough <- struct{}{}
			}
		})
		writing.Go(func() { // fills the cache meanwhile
			for {
				select {
				case <-ended:
					return
				default:
					read(other.HTTP, user)
				}
			}
		})
	}
	for range 200 {
		<-enough
	}
	killed.Kill()
	go func() { // discards further results
		for range enough {
			continue
		}
	}()
	close(ended)
	writing.Wait()
	close(enough)

	client, watch, again := b.redis.Client(), b.postgres.Connect(), binary.Start()
	defer func() { _ = client.Close() }()
	for i, user := range users {
		for _, replica := range []*servicetest.Process{other, again} {
			r := read(replica.HTTP, user)
			settle(t, []reading{r}, http.StatusOK, "")
			if r.user.Version < acknowledged[i] {
				t.Errorf("version %d is read, %d was acknowledged", r.user.Version, acknowledged[i])
			}
			stored := b.version(watch, user)
			if life := client.PTTL(t.Context(), "user:"+user).Val(); r.user.Version != stored && (life <= 0 || life > 300*time.Second) {
				t.Errorf("version %d is read for another %s, %d is stored", r.user.Version, life, stored)
			}
			if stored == acknowledged[i] && stored > 1 && r.user.Name != fmt.Sprintf("Name %d", stored-1) {
				t.Errorf("version %d has the name %s", stored, r.user.Name)
			}
		}
	}
}
