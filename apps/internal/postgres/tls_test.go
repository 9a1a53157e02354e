package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/postgres"
)

var log = slog.New(slog.DiscardHandler)

// with returns env with the changes; "" unsets a variable.
func with(env, changes map[string]string) map[string]string {
	changed := maps.Clone(env)
	maps.Copy(changed, changes)
	return changed
}

func read(env map[string]string) (postgres.Config, error) {
	e := config.From(func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	c := postgres.ReadConfig(e)
	return c, e.Err()
}

func open(t *testing.T, env map[string]string) *pgxpool.Pool {
	t.Helper()
	c, err := read(env)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Connect(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestTLS(t *testing.T) {
	server := backingtest.StartPostgres(t)
	good, other := server.Env(), backingtest.OtherAuthority(t)

	for name, changes := range map[string]map[string]string{
		"by address":                            nil,
		"by name":                               {"POSTGRES_HOST": "localhost"},
		"by default":                            {"POSTGRES_SSLMODE": ""},
		"by the second of two authorities":      {"POSTGRES_CA_CERTIFICATE": other + good["POSTGRES_CA_CERTIFICATE"]},
		"with an unverified server, if allowed": {"POSTGRES_SSLMODE": "require", "POSTGRES_CA_CERTIFICATE": "", "POSTGRES_HOST": "0.0.0.0"},
	} {
		t.Run("is used "+name, func(t *testing.T) {
			var pid uint32
			var version string
			err := errors.Join(
				open(t, with(good, changes)).QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid),
				server.Connect().QueryRow(t.Context(), "SELECT version FROM pg_stat_ssl WHERE pid = $1", pid).Scan(&version))
			if err != nil || version != "TLSv1.2" && version != "TLSv1.3" {
				t.Errorf("the connection has %q, %v", version, err)
			}
		})
	}

	for name, c := range map[string]struct {
		changes map[string]string
		fault   string
	}{
		"by another authority":  {map[string]string{"POSTGRES_CA_CERTIFICATE": other}, "certificate signed by unknown authority"},
		"by none of the system": {map[string]string{"POSTGRES_CA_CERTIFICATE": ""}, "certificate signed by unknown authority"},
		"for another host":      {map[string]string{"POSTGRES_HOST": "0.0.0.0"}, "certificate is valid for 127.0.0.1, not 0.0.0.0"},
		"without TLS":           {map[string]string{"POSTGRES_SSLMODE": "disable", "POSTGRES_CA_CERTIFICATE": ""}, "no encryption"},
	} {
		t.Run("is refused with a certificate "+name, func(t *testing.T) {
			at, err := read(with(good, c.changes))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var output strings.Builder
			pool, err := postgres.Connect(ctx, at, slog.New(slog.NewTextHandler(writer(func(line []byte) {
				output.Write(line)
				cancel() // don't wait for another try
			}), nil)))
			if err == nil {
				pool.Close()
				t.Fatal("it connects")
			}
			if !strings.Contains(output.String(), c.fault) || strings.Contains(output.String()+err.Error(), good["POSTGRES_PASSWORD"]) {
				t.Errorf("the log is %s, the error %v; want %s and no password", output.String(), err, c.fault)
			}
		})
	}
}

type writer func([]byte)

func (w writer) Write(line []byte) (int, error) { w(line); return len(line), nil }

func TestInvalidConfiguration(t *testing.T) {
	good := map[string]string{"POSTGRES_HOST": "h", "POSTGRES_DATABASE": "d", "POSTGRES_USER": "u", "POSTGRES_PASSWORD": "hunter2"}
	authority := backingtest.Authority(t)
	for name, c := range map[string]struct {
		changes map[string]string
		fault   string
	}{
		"an authority without TLS": {map[string]string{"POSTGRES_SSLMODE": "disable", "POSTGRES_CA_CERTIFICATE": authority},
			"POSTGRES_CA_CERTIFICATE is set but not used: it needs POSTGRES_SSLMODE=verify-full"},
		"an authority without verification": {map[string]string{"POSTGRES_SSLMODE": "require", "POSTGRES_CA_CERTIFICATE": authority},
			"POSTGRES_CA_CERTIFICATE is set but not used: it needs POSTGRES_SSLMODE=verify-full"},
		"no PEM":                   {map[string]string{"POSTGRES_CA_CERTIFICATE": "hunter2"}, "POSTGRES_CA_CERTIFICATE holds no certificate"},
		"a URL in place of a host": {map[string]string{"POSTGRES_HOST": "postgres://u:hunter2@h/d"}, "POSTGRES_HOST must be a host alone"},
		"no mode":                  {map[string]string{"POSTGRES_SSLMODE": "prefer"}, `POSTGRES_SSLMODE is "prefer": allowed are disable, require, verify-full`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(with(good, c.changes))
			if err == nil || !strings.Contains(err.Error(), "\n  - "+c.fault) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, want %s and no secret", err, c.fault)
			}
		})
	}
	if _, err := read(good); err != nil {
		t.Error(err)
	}
}

// The service's role acts as the owner of the database, also in migrations.
func TestOwnerRoleOwnsMigratedTables(t *testing.T) {
	server := backingtest.StartPostgres(t)
	at, err := read(server.Env())
	if err != nil {
		t.Fatal(err)
	}
	migrations := fstest.MapFS{"00001_t.sql": {Data: []byte("-- +goose Up\nCREATE TABLE t (id int);")}}
	if err := postgres.Migrate(t.Context(), at, migrations, log); err != nil {
		t.Fatal(err)
	}
	var owner string
	if err := server.Connect().QueryRow(t.Context(), "SELECT tableowner FROM pg_tables WHERE tablename = 't'").Scan(&owner); err != nil || owner != "owner" {
		t.Errorf("the table is %q's: %v", owner, err)
	}
}

// A service gets a new password when its release is replaced. Until then it uses its open connections.
func TestOpenConnectionsSurvivePasswordChange(t *testing.T) {
	server := backingtest.StartPostgres(t)
	pool := open(t, with(server.Env(), map[string]string{"POSTGRES_MAX_CONNS": "1"})) // only one connection
	backend := func() (pid uint32) {
		t.Helper()
		if err := pool.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	before := backend()
	if _, err := server.Connect().Exec(t.Context(), "ALTER ROLE service PASSWORD 'another'"); err != nil {
		t.Fatal(err)
	}
	at, err := read(server.Env())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if late, err := postgres.Connect(ctx, at, log); err == nil {
		late.Close()
		t.Fatal("the old password is still accepted: this shows nothing")
	}
	for range 100 {
		if now := backend(); now != before {
			t.Fatal(fmt.Sprint("the connection was replaced: backend ", now, ", was ", before))
		}
	}
}
