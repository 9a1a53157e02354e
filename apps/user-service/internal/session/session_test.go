package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/postgres"
	"platform.example/apps/internal/problem"
	"platform.example/apps/user-service/internal/audit"
	"platform.example/apps/user-service/internal/store"
	usermodel "platform.example/apps/user-service/internal/user"
)

// client is the client of all requests.
var client = audit.Entry{Action: audit.SessionEnded, Address: "198.51.100.7"}

// started returns the sessions of one user, with a clock that the test sets.
func started(t *testing.T, now *time.Time) (*Sessions, *pgxpool.Pool, uuid.UUID) {
	t.Helper()
	env := backingtest.StartPostgres(t).Env()
	e := config.From(func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	at := postgres.ReadConfig(e)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if err := postgres.Migrate(t.Context(), at, os.DirFS("../../migrations"), log); err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Connect(t.Context(), at, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	user := uuid.Must(uuid.NewV7())
	if _, err := pool.Exec(t.Context(), "INSERT INTO users (id, email, name, role, password_hash) VALUES ($1, 'a@example.com', 'A', 'user', 'hash')", user); err != nil {
		t.Fatal(err)
	}
	return newSessions(pool, log, func() time.Time { return *now }), pool, user
}

func newSessions(pool *pgxpool.Pool, log *slog.Logger, now func() time.Time) *Sessions {
	return &Sessions{pool: pool, log: log, now: now}
}

// audited checks the number of sessions that ended for the reason.
func audited(t *testing.T, pool *pgxpool.Pool, reason string, want int) {
	t.Helper()
	var got int
	err := pool.QueryRow(t.Context(), "SELECT count(DISTINCT session_id) FROM audit WHERE action = 'session.ended' AND detail = $1", reason).Scan(&got)
	if err != nil || got != want {
		t.Errorf("the audit log has %d ends of a session for %q (%v), want %d", got, reason, err, want)
	}
}

func good(t *testing.T, err error) bool {
	t.Helper()
	if err == nil {
		return true
	}
	if refused, ok := errors.AsType[*problem.Error](err); !ok || refused.Code != problem.Unauthenticated {
		t.Fatal(err)
	}
	return false
}

// In any order of requests, the newest token extends the session, the previous one returns the same successor during
// grace, and any other token ends the session.
func TestProperties(t *testing.T) {
	now := time.Now()
	s, pool, user := started(t, &now)
	reused := 0
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 3))
		opened, err := s.Begin(t.Context(), user, "hash", client)
		if err != nil {
			t.Fatal(err)
		}
		tokens := []string{opened.RefreshToken} // from the first to the newest
		var rotated time.Time
		over := false
		for step := range 12 {
			now = now.Add(time.Duration(random.IntN(int(grace))))
			newest := len(tokens) - 1
			i := max(0, newest-random.IntN(3))
			next, err := s.Refresh(t.Context(), tokens[i], client)
			want := !over && (i == newest || i == newest-1 && now.Sub(rotated) <= grace)
			if good(t, err) != want {
				t.Fatalf("seed %d, step %d: token %d of %d, %s after the last: %v", seed, step, i, newest, now.Sub(rotated), err)
			}
			if !over && !want {
				reused++
			}
			over = over || !want
			if !want {
				continue
			}
			if i == newest-1 {
				if next.RefreshToken != tokens[newest] {
					t.Fatalf("seed %d: the token before the newest has another successor", seed)
				}
				continue
			}
			tokens, rotated = append(tokens, next.RefreshToken), now
		}
	}
	audited(t, pool, "a used refresh token was sent again", reused)
}

func TestSessionExpires(t *testing.T) {
	now := time.Now()
	s, pool, user := started(t, &now)
	opened, err := s.Begin(t.Context(), user, "hash", client)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(Life - time.Hour)
	next, err := s.Refresh(t.Context(), opened.RefreshToken, client)
	if err != nil || next.ExpiresIn > 3600 || next.ExpiresIn < 3590 {
		t.Errorf("an hour before its end: %+v, %v", next, err)
	}
	now = now.Add(time.Hour)
	if _, err := s.Refresh(t.Context(), next.RefreshToken, client); good(t, err) {
		t.Error("the session can be refreshed after its end")
	}

	count := func() (n int) {
		t.Helper()
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := pool.QueryRow(context.Background(), "SELECT count(*) FROM sessions").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(); n != 1 {
		t.Errorf("%d sessions are kept right after the end, want 1", n)
	}
	now = now.Add(kept + time.Second)
	if n := count(); n != 0 {
		t.Errorf("%d sessions are kept long after the end", n)
	}
}

func TestRevokedSessionsAreListedWhileTokensAreValid(t *testing.T) {
	now := time.Now()
	s, _, user := started(t, &now)
	opened, err := s.Begin(t.Context(), user, "hash", client)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context(), opened.RefreshToken, client); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]int{0: 1, 15 * time.Minute: 1, 21 * time.Minute: 0} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			now := now.Add(after)
			ended, _, err := newSessions(s.pool, s.log, func() time.Time { return now }).Revoked(t.Context(), Ended{}, 0)
			if err != nil || len(ended) != want || want == 1 && ended[0].ID != opened.ID {
				t.Errorf("got %v, %v", ended, err)
			}
		})
	}
}

// If more sessions end than fit into a page, each is listed once, also if several ended at the same moment.
func TestRevokedIsListedInPages(t *testing.T) {
	now := time.Now()
	s, pool, user := started(t, &now)
	const page, count = 100, 201
	_, err := pool.Exec(t.Context(), `INSERT INTO sessions (id, user_id, token_hash, expires_at, revoked_at)
		SELECT gen_random_uuid(), $1, '', $2, $3::timestamptz - (i / 3) * interval '1 millisecond' FROM generate_series(1, $4::int) i`,
		user, now.Add(Life), now, count)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[uuid.UUID]bool{}
	pages, more, after := 0, true, Ended{}
	for ; more && pages < 5; pages++ {
		var ended []Ended
		if ended, more, err = s.Revoked(t.Context(), after, page); err != nil {
			t.Fatal(err)
		}
		for _, e := range ended {
			listed[e.ID], after = true, e
		}
	}
	if len(listed) != count || pages != 3 {
		t.Errorf("%d sessions in %d pages, want %d in 3", len(listed), pages, count)
	}
	if ended, more, err := s.Revoked(t.Context(), Ended{}, 0); err != nil || more || len(ended) != count {
		t.Errorf("without pages: %d sessions, %t, %v", len(ended), more, err)
	}
	if ended, more, err := s.Revoked(t.Context(), after, page); err != nil || more || len(ended) != 0 {
		t.Errorf("after the last one: %d sessions, %t, %v", len(ended), more, err)
	}
}

func TestOldestSessionEndsBeyondTheLimit(t *testing.T) {
	now := time.Now()
	s, pool, user := started(t, &now)
	var first Session
	for i := range maxPerUser + 3 {
		opened, err := s.Begin(t.Context(), user, "hash", client)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = opened
		}
	}
	var left int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM sessions WHERE revoked_at IS NULL").Scan(&left); err != nil || left != maxPerUser {
		t.Errorf("%d sessions are left (%v), want %d", left, err, maxPerUser)
	}
	if _, err := s.Refresh(t.Context(), first.RefreshToken, client); err == nil {
		t.Error("the oldest session is still open")
	}
	audited(t, pool, "too many sessions", 3)
	if _, err := s.Begin(t.Context(), user, "another hash", client); err == nil {
		t.Error("a wrong password begins a session")
	}
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM sessions WHERE revoked_at IS NULL").Scan(&left); err != nil || left != maxPerUser {
		t.Errorf("after a wrong password %d sessions are left (%v), want %d", left, err, maxPerUser)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(token{uuid.Max, newSecret()}.String())
	f.Add("0190f3a0-0000-7000-8000-000000000001.")
	f.Add(".")
	f.Fuzz(func(t *testing.T, raw string) {
		if parsed, ok := parse(raw); ok && (parsed.String() != raw || len(parsed.secret) != secretBytes) {
			t.Errorf("%q is read as %q", raw, parsed)
		}
	})
}

// A concurrent change of the password leaves no session that was started with the old password.
func TestSessionEndsWithItsPassword(t *testing.T) {
	now := time.Now()
	s, pool, user := started(t, &now)
	users := store.New(pool)
	var opened Session
	var beginErr error
	begin := func() { opened, beginErr = s.Begin(t.Context(), user, "hash", client) }
	change := func() {
		if _, err := users.Update(t.Context(), user, usermodel.Change{}, "another hash", client); err != nil {
			t.Error(err)
		}
	}
	for name, order := range map[string][]func(){"the session first": {begin, change}, "the password first": {change, begin}} {
		t.Run(name, func(t *testing.T) {
			if _, err := pool.Exec(t.Context(), "UPDATE users SET password_hash = 'hash'"); err != nil {
				t.Fatal(err)
			}
			gate, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := gate.Exec(t.Context(), "SELECT FROM users FOR UPDATE"); err != nil {
				t.Fatal(err)
			}
			var running sync.WaitGroup
			for i, do := range order {
				running.Go(do)
				backingtest.Eventually(t, 20*time.Second, func() error {
					var waiting int
					err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted").Scan(&waiting)
					if err != nil || waiting <= i {
						return fmt.Errorf("%d wait at the gate, want %d: %w", waiting, i+1, err)
					}
					return nil
				})
			}
			if err := gate.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			running.Wait()
			if !good(t, beginErr) {
				return // it was too late
			}
			if _, err := s.Refresh(t.Context(), opened.RefreshToken, client); good(t, err) {
				t.Error("a session with the old password is still open")
			}
		})
	}
}
