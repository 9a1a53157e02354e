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
	debianBin        = "/usr/lib/postgresql/15/bin"
)

// Postgres is a running Postgres.
type Postgres struct {
	t       testing.TB
	port    string
	dir     string
	as      *syscall.Credential
	process *process
}

// StartPostgres runs an empty Postgres until the test ends.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	initdb := find(t, "postgresql-15", filepath.Join(debianBin, "initdb"), "initdb")
	dir, as := account(t, "postgres")
	p := &Postgres{t: t, port: freePort(t), dir: dir, as: as}

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
	p.Start()
	return p
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// Start starts it, for the first time or after Stop, at the same address.
func (p *Postgres) Start() {
	p.t.Helper()
	binary := find(p.t, "postgresql-15", filepath.Join(debianBin, "postgres"), "postgres")
	p.process = start(p.t, p.as, syscall.SIGQUIT, binary, "-D", p.data(), "-p", p.port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		// What a test writes needn't survive the machine, but what is committed
		// must survive Stop: synchronous_commit stays on.
		"-c", "fsync=off", "-c", "full_page_writes=off")
	p.process.waitFor("postgres", func(ctx context.Context) error {
		connection, err := pgx.Connect(ctx, p.url())
		if err != nil {
			return err
		}
		return connection.Close(ctx)
	})
}

// Stop stops it at once, as a crash would.
func (p *Postgres) Stop() { p.process.stop() }

// Hang makes it answer nothing any more on the connections that there are, and
// take new ones without an answer, until Resume.
func (p *Postgres) Hang() { p.process.signal(syscall.SIGSTOP) }

// Resume ends Hang.
func (p *Postgres) Resume() { p.process.signal(syscall.SIGCONT) }

// Addr is its host:port.
func (p *Postgres) Addr() string { return "127.0.0.1:" + p.port }

// Connect returns a connection to it, for what a test wants to see or to change.
func (p *Postgres) Connect() *pgx.Conn {
	p.t.Helper()
	connection, err := pgx.Connect(p.t.Context(), p.url())
	if err != nil {
		p.t.Fatalf("connecting to Postgres: %v", err)
	}
	p.t.Cleanup(func() { _ = connection.Close(context.Background()) })
	return connection
}

func (p *Postgres) url() string {
	return fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%s/postgres?sslmode=disable", postgresPassword, p.port)
}

// Env is the environment of a service that uses it.
func (p *Postgres) Env() map[string]string {
	return map[string]string{
		"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": p.port, "POSTGRES_DATABASE": "postgres",
		"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": postgresPassword, "POSTGRES_SSLMODE": "disable",
	}
}
