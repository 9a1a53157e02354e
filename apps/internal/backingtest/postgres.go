package backingtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

const (
	postgresPassword = "postgres-of-a-test"
	servicePassword  = "service-of-a-test"
	debianBin        = "/usr/lib/postgresql/15/bin"
)

// Postgres is a running Postgres, which requires TLS.
type Postgres struct {
	*process
	port   string
	dir    string
	as     *syscall.Credential
	server keyPair
}

// StartPostgres runs an empty Postgres until the test ends.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	initdb := Find(t, "postgresql-15", filepath.Join(debianBin, "initdb"), "initdb")
	dir, as := account(t, "postgres")
	p := &Postgres{process: &process{t: t, quit: syscall.SIGQUIT}, port: freePort(t), dir: dir, as: as, server: certify(t, dir, as)}

	passwordFile := filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(postgresPassword), 0o644); err != nil {
		t.Fatal(err)
	}
	create := exec.Command(initdb, "--pgdata="+p.data(), "--username=postgres", "--pwfile="+passwordFile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	create.Dir = "/"
	create.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if output, err := create.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, output)
	}
	if err := os.WriteFile(filepath.Join(p.data(), "pg_hba.conf"), []byte("hostssl all all all scram-sha-256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Start()
	// The role of a service, as the platform creates it: it acts as another role, which owns the database.
	if _, err := p.Connect().Exec(t.Context(), `
		CREATE ROLE owner;
		ALTER DATABASE postgres OWNER TO owner;
		CREATE ROLE service LOGIN PASSWORD '`+servicePassword+`' IN ROLE owner;
		ALTER ROLE service SET role = owner;
		ALTER ROLE service SET statement_timeout = '3s'`); err != nil {
		t.Fatalf("creating the role of a service: %v", err)
	}
	return p
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// Start starts the server, for the first time or after Stop, at the same address.
func (p *Postgres) Start() {
	p.t.Helper()
	binary := Find(p.t, "postgresql-15", filepath.Join(debianBin, "postgres"), "postgres")
	p.start(p.as, binary, "-D", p.data(), "-p", p.port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "ssl=on", "-c", "ssl_cert_file="+p.server.certificate, "-c", "ssl_key_file="+p.server.key,
		// Data needn't survive the machine. Committed data must survive Stop: synchronous_commit stays on.
		"-c", "fsync=off", "-c", "full_page_writes=off")
	p.waitFor("postgres", func(ctx context.Context) error {
		connection, err := pgx.Connect(ctx, p.url())
		if err != nil {
			return err
		}
		return connection.Close(ctx)
	})
}

// Addr returns the server's host:port.
func (p *Postgres) Addr() string { return "127.0.0.1:" + p.port }

// Connect returns a superuser connection for the test itself.
func (p *Postgres) Connect() *pgx.Conn {
	p.t.Helper()
	connection := Must[*pgx.Conn](p.t)(pgx.Connect(p.t.Context(), p.url()))
	p.t.Cleanup(func() { _ = connection.Close(context.Background()) })
	return connection
}

func (p *Postgres) url() string {
	return fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%s/postgres?sslmode=verify-full&sslrootcert=%s",
		postgresPassword, p.port, p.server.certificate)
}

// Env returns the environment variables of a service that uses the server.
func (p *Postgres) Env() map[string]string {
	return map[string]string{
		"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": p.port, "POSTGRES_DATABASE": "postgres",
		"POSTGRES_USER": "service", "POSTGRES_PASSWORD": servicePassword,
		"POSTGRES_SSLMODE": "verify-full", "POSTGRES_CA_CERTIFICATE": Authority(p.t),
	}
}
