package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

const (
	userService = "platform.example/apps/user-service"
	// responseWithin is twice the limit of 4 s for a request, because the test machine may be busy.
	responseWithin = 8 * time.Second
	soon           = 20 * time.Second // until a recovered store is used again
	maxConns       = 8
)

// backing holds the stores of the service, with its schema.
type backing struct {
	t        *testing.T
	postgres *backingtest.Postgres
	redis    *backingtest.Redis
	stream   *backingtest.Redis
}

func startBacking(t *testing.T) *backing {
	t.Helper()
	b := &backing{t: t, postgres: backingtest.StartPostgres(t), redis: backingtest.StartRedis(t), stream: backingtest.StartStream(t)}
	if out, err := servicetest.Run(commands(), b.env(), "migrate"); err != nil {
		t.Fatalf("migrate: %v\n%s", err, out)
	}
	return b
}

func (b *backing) env() map[string]string {
	return servicetest.Env(b.postgres.Env(), b.redis.Env(name), b.stream.Env(name), map[string]string{"POSTGRES_MAX_CONNS": strconv.Itoa(maxConns)})
}

// users adds users without a password, and returns their ids.
func (b *backing) users(count int) []string {
	b.t.Helper()
	rows, err := b.postgres.Connect().Query(b.t.Context(), `INSERT INTO users (id, email, name, role, password_hash)
		SELECT id, id || '@example.com', 'Ada', 'user', '' FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, $1)) ids
		RETURNING id::text`, count)
	if err != nil {
		b.t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.t.Fatal(err)
	}
	return ids
}

// version returns the version of a user in Postgres.
func (b *backing) version(watch *pgx.Conn, user string) (version int) {
	b.t.Helper()
	if err := watch.QueryRow(b.t.Context(), "SELECT version FROM users WHERE id = $1", user).Scan(&version); err != nil {
		b.t.Fatal(err)
	}
	return version
}

// connections returns the number of connections of services to Postgres.
func (b *backing) connections(watch *pgx.Conn) (n int) {
	b.t.Helper()
	err := watch.QueryRow(b.t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&n)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// mostConnections returns the maximum number of connections while do runs.
func (b *backing) mostConnections(watch *pgx.Conn, do func()) (most int) {
	b.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	for {
		most = max(most, b.connections(watch))
		select {
		case <-done:
			return most
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// reading is the result of a GET of a user.
type reading struct {
	id         string // of the requested user
	status     int
	cache      string
	retryAfter string
	user       userResponse
	took       time.Duration
	err        error
}

func read(base, id string) reading {
	begin := time.Now()
	response, err := send(base, "GET", "/users/"+id, "")
	r := reading{id: id, took: time.Since(begin), err: err, status: response.Status}
	if err == nil {
		r.cache, r.retryAfter = response.Header.Get("X-Cache"), response.Header.Get("Retry-After")
		r.err = json.Unmarshal([]byte(response.Body), &r.user)
	}
	return r
}

// readAll reads all users concurrently.
func readAll(base string, ids []string) []reading {
	readings := make([]reading, len(ids))
	var reading sync.WaitGroup
	for i, id := range ids {
		reading.Go(func() { readings[i] = read(base, id) })
	}
	reading.Wait()
	return readings
}

// warm reads a user until the response comes from the cache.
func warm(t *testing.T, base, id string) {
	t.Helper()
	backingtest.Eventually(t, soon, func() error {
		if r := settle(t, []reading{read(base, id)}, http.StatusOK, "")[0]; r.cache != "hit" {
			return fmt.Errorf("the cache isn't used: %+v", r)
		}
		return nil
	})
}

// settle fails the test for readings with another status or X-Cache; 0 and "" match any. Every response must
// come in time and be for the requested user.
func settle(t *testing.T, readings []reading, status int, cache string) []reading {
	t.Helper()
	for _, r := range readings {
		if r.err != nil || r.took > responseWithin || status != 0 && r.status != status || cache != "" && r.cache != cache ||
			r.status == http.StatusOK && r.user.ID != r.id {
			t.Fatalf("%+v: want %d %s", r, status, cache)
		}
	}
	return readings
}

// send is like servicetest.Call for requests that may fail.
func send(base, method, path, body string) (servicetest.Response, error) {
	request, err := http.NewRequest(method, base+path, strings.NewReader(body))
	if err != nil {
		return servicetest.Response{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return servicetest.Response{}, err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	return servicetest.Response{Status: response.StatusCode, Header: response.Header, Body: string(raw)}, err
}

// metric returns the sum of a metric over all its labels.
func metric(t *testing.T, ops, name string) (sum float64) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(servicetest.Call(t, "GET", ops+"/metrics", "").Body))
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if series, _, _ := strings.Cut(series, "{"); series != name {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", name, err))
		}
		sum += n
	}
	return sum
}
