package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// nobody runs the server: initdb requires an existing user other than root.
const nobody = 65534

const binaries = "/usr/lib/postgresql/15/bin/"

// server is a Postgres that the pod's script starts, on a free port and in a folder of the test.
type server struct {
	t       *testing.T
	folder  string
	port    string
	process *exec.Cmd
	log     output
}

func newServer(t *testing.T) *server {
	t.Helper()
	if _, err := os.Stat(binaries + "postgres"); errors.Is(err, os.ErrNotExist) {
		t.Skip("needs PostgreSQL 15: apt-get install postgresql-15")
	}
	folder, err := os.MkdirTemp("/tmp", "postgres") // t.TempDir is closed to other users, and too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()

	hurry(t, folder)
	server := &server{t: t, folder: folder, port: port}
	conf := fmt.Sprintf("port = %s\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '%s'\nfsync = off\nssl = on\n"+
		"ssl_cert_file = '%[2]s/tls.crt'\nssl_key_file = '%[2]s/tls.key'\nlog_line_prefix = '%%m %%u@%%d '\n", port, folder)
	for name, value := range PostgresConf(256*quantity.MiB, 50) {
		conf += fmt.Sprintf("%s = '%s'\n", name, value)
	}
	for name, content := range map[string]string{
		"pg_hba.conf": strings.Join(HostRules, "\n") + "\n", "postgresql.conf": conf,
		"setup.sh": Script("postgres/setup.sh"), "administrator.sql": Script("postgres/administrator.sql"), "role.sql": Script("postgres/role.sql"),
		"login.sql":  Script("postgres/login.sql"),
		"former.sql": Script("postgres/former.sql"), "databases.sql": Script("postgres/databases.sql"), "monitor.sql": Script("postgres/monitor.sql"),
		"roles": "user_service users 20\norder_service orders 20\n",
		"admin": "admin-secret-1", "user_service": "users-secret-1", "order_service": "orders-secret's", "monitor": "monitor-secret",
	} {
		server.write(name, content)
	}
	server.certify()
	if os.Getuid() == 0 {
		if err := os.Chown(folder, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // the server's own user must get in
		t.Fatal(err)
	}
	return server
}

// certify gives the server a new certificate by a new authority.
func (s *server) certify() {
	s.t.Helper()
	public, key, bundle := newCertificate(s.t)
	s.write(AuthorityFile, bundle)
	s.write("tls.key", key)
	s.write("tls.crt", public) // last: it is what the server watches
	own := filepath.Join(s.folder, "tls.key")
	if err := os.Chmod(own, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(own, nobody, nobody); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *server) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.folder, name), []byte(content), 0o644); err != nil { //nolint:gosec // as above
		s.t.Fatal(err)
	}
}

// command runs as the pod's user with the pod's environment.
func (s *server) command(name string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(s.t.Context(), name, arguments...)
	command.Dir = s.folder
	command.Env = []string{
		"PATH=" + s.folder + ":/usr/bin:/bin", "PGDATA=" + s.folder + "/pgdata", "CONFIG=" + s.folder, "PASSWORD_FILE=" + s.folder + "/admin",
		"PATIENCE=30", "CERTIFICATE=" + s.folder, "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + s.folder + "/" + AuthorityFile, "PGUSER=postgres",
		"ROLE_PASSWORDS=" + s.folder, "PGHOST=127.0.0.1", "PGPORT=" + s.port,
	}
	if os.Getuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return command
}

// initialize makes the data directory, as the operator does.
func (s *server) initialize() {
	s.t.Helper()
	initdb := s.command(binaries+"initdb", "--username=postgres", "--pwfile="+s.folder+"/admin", "--auth=scram-sha-256", "--data-checksums", "--no-sync", "--locale=C.UTF-8")
	if output, err := initdb.CombinedOutput(); err != nil {
		s.t.Fatalf("initdb: %v\n%s", err, output)
	}
}

func (s *server) start() {
	s.t.Helper()
	s.process = s.command(binaries+"postgres", "-c", "config_file="+s.folder+"/postgresql.conf", "-c", "hba_file="+s.folder+"/pg_hba.conf",
		"-c", "ident_file="+s.folder+"/pgdata/pg_ident.conf")
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.stop)
	deadline := time.Now().Add(30 * time.Second)
	for s.command(binaries+"pg_isready", "--quiet").Run() != nil {
		if time.Now().After(deadline) {
			s.t.Fatalf("the server does not answer:\n%s", s.log.String())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stop sends the signal of the pod's hook.
func (s *server) stop() {
	if s.process.ProcessState == nil {
		_ = s.process.Process.Signal(syscall.SIGINT)
		_ = s.process.Wait()
	}
}

// setUp runs the Job's script.
func (s *server) setUp() string {
	s.t.Helper()
	output, err := s.command("/bin/sh", s.folder+"/setup.sh").CombinedOutput()
	if err != nil {
		s.t.Fatalf("setup.sh: %v\n%s\n%s", err, output, s.log.String())
	}
	return string(output)
}

// query runs a query as a user.
func (s *server) query(role, password, database, sql string) (string, error) {
	command := s.command(binaries+"psql", "-X", "-tA", "-c", sql, "user="+role+" dbname="+database)
	command.Env = append(command.Env, "PGPASSWORD="+password)
	output, err := command.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func TestPostgresScripts(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	server.initialize()
	commands := watch()
	server.start()
	firstOutput := server.setUp()

	ask := func(role, password, database, sql, want string) {
		t.Helper()
		if got, err := server.query(role, password, database, sql); err != nil || got != want {
			t.Errorf("%s in %s: %s: %q, %v; want %q", role, database, sql, got, err, want)
		}
	}
	refuse := func(role, password, database, sql, want string) {
		t.Helper()
		if got, err := server.query(role, password, database, sql); err == nil || !strings.Contains(got, want) {
			t.Errorf("%s in %s: %s: %q, %v; want it refused with %q", role, database, sql, got, err, want)
		}
	}
	// as is a service's role, which signs in with a password of its own.
	as := func(password string) (role, its string) { return Login("user_service", password), password }
	users, password := as("users-secret-1")

	t.Run("each role owns its database", func(*testing.T) {
		ask(users, password, "users", "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7); SELECT n FROM kept", "CREATE TABLE\nINSERT 0 1\n7")
		ask(users, password, "users", "SELECT tableowner FROM pg_tables WHERE tablename = 'kept'", "user_service")
		ask(Login("order_service", "orders-secret's"), "orders-secret's", "orders", "SELECT current_user", "order_service")
	})
	t.Run("a statement of a service has a timeout", func(*testing.T) {
		ask(users, password, "users", "SHOW statement_timeout", "3s")
		ask(Login(monitor, "monitor-secret"), "monitor-secret", "postgres", "SHOW statement_timeout", "0")
	})
	t.Run("and has no other permissions", func(*testing.T) {
		for _, database := range []string{"orders", "postgres", "template1"} {
			refuse(users, password, database, "SELECT 1", "permission denied for database")
		}
		refuse(users, password, "users", "CREATE DATABASE more", "permission denied")
		refuse(users, password, "users", "CREATE ROLE more", "permission denied")
		ask("postgres", "admin-secret-1", "postgres",
			"SELECT rolconnlimit, rolsuper, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = '"+users+"'", "20|f|f|f")
		refuse("user_service", password, "users", "SELECT 1", "password authentication failed") // the owner of the database has no password
	})
	t.Run("the exporter sees only statistics", func(*testing.T) {
		monitors := Login(monitor, "monitor-secret")
		ask(monitors, "monitor-secret", "postgres", "SELECT count(*) > 0 FROM pg_stat_activity WHERE query <> ''", "t")
		ask(monitors, "monitor-secret", "postgres", "SELECT pg_database_size('users') > 0", "t")
		refuse(monitors, "monitor-secret", "users", "SELECT 1", "permission denied for database")
		refuse(monitors, "monitor-secret", "postgres", "CREATE TABLE mine (n int)", "permission denied")
	})
	t.Run("a password is required (SCRAM)", func(*testing.T) {
		refuse(users, "wrong", "users", "SELECT 1", "password authentication failed")
		ask("postgres", "admin-secret-1", "postgres",
			"SELECT count(*) FROM pg_authid WHERE rolcanlogin AND rolpassword LIKE 'SCRAM-SHA-256$%'", "4")
		ask("postgres", "admin-secret-1", "postgres", "SHOW data_checksums", "on")
	})
	t.Run("the stored form of a password stays, with which a pooler signs in", func(t *testing.T) {
		stored := "SELECT rolpassword FROM pg_authid WHERE rolname = '" + users + "'"
		before, err := server.query("postgres", "admin-secret-1", "postgres", stored)
		server.setUp()
		if after, again := server.query("postgres", "admin-secret-1", "postgres", stored); err != nil || again != nil || after != before {
			t.Errorf("%v, %v: %d and then %d characters that differ", err, again, len(before), len(after))
		}
	})
	t.Run("TLS is required", func(*testing.T) {
		ask("postgres", "admin-secret-1", "postgres", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "t")
		refuse(users, password, "users sslmode=disable", "SELECT 1", "no encryption")
	})
	t.Run("both passwords are accepted after a rotation, and the data is kept", func(*testing.T) {
		server.write("user_service", "users-secret-2,users-secret-1")
		if again := server.setUp(); again != firstOutput {
			t.Errorf("the second run printed %q, the first %q", again, firstOutput)
		}
		ask(users, password, "users", "SELECT n FROM kept", "7")
		next, its := as("users-secret-2")
		ask(next, its, "users", "INSERT INTO kept VALUES (8); SELECT sum(n) FROM kept", "INSERT 0 1\n15")
	})
	t.Run("the first password is refused after two rotations", func(*testing.T) {
		server.write("user_service", "users-secret-3,users-secret-2")
		server.setUp()
		refuse(users, password, "users", "SELECT 1", "password authentication failed")
		for _, accepted := range []string{"users-secret-2", "users-secret-3"} {
			role, its := as(accepted)
			ask(role, its, "users", "SELECT sum(n) FROM kept", "15")
		}
	})
	t.Run("the superuser's password changes while the server runs", func(*testing.T) {
		server.write("admin", "admin-secret-2,admin-secret-1")
		server.setUp()
		ask("postgres", "admin-secret-2", "postgres", "SELECT 1", "1")
		refuse("postgres", "admin-secret-1", "postgres", "SELECT 1", "password authentication failed")
		server.setUp() // and is found again
	})
	t.Run("no process list shows a secret", func(t *testing.T) {
		programs, secret := map[string]bool{}, regexp.MustCompile("(admin|users|orders|monitor)-secret")
		for line := range commands.end() {
			program, _, _ := strings.Cut(line, "\x00")
			programs[filepath.Base(program)] = true
			if secret.MatchString(line) {
				t.Errorf("a command line shows a secret: %q", line)
			}
		}
		for _, program := range []string{"postgres", "psql"} {
			if !programs[program] {
				t.Errorf("no command line of %s was read: %v", program, programs)
			}
		}
	})
	t.Run("no log contains a secret", func(t *testing.T) {
		server.write("user_service", "users-secret-4")
		server.write("roles", "user_service users many\n") // no number: the statement after the one with the password fails
		output, err := server.command("/bin/sh", server.folder+"/setup.sh").CombinedOutput()
		if err == nil {
			t.Error("a wrong connection limit is accepted")
		}
		server.stop()
		for _, text := range []string{firstOutput, string(output), server.log.String()} {
			if strings.Contains(text, "secret") {
				t.Errorf("shows a secret:\n%s", text)
			}
		}
	})
}

// commandLines are the command lines of the descendants of this process since watch, each once.
type commandLines struct {
	stop  chan struct{}
	lines chan map[string]bool
}

// watch reads the command lines again and again until end.
func watch() commandLines {
	w := commandLines{make(chan struct{}), make(chan map[string]bool)}
	go func() {
		seen := map[string]bool{}
		for {
			visitChildren("self", seen)
			select {
			case <-w.stop:
				w.lines <- seen
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return w
}

func (w commandLines) end() map[string]bool {
	close(w.stop)
	return <-w.lines
}

// visitChildren adds the command lines of all descendants of a process.
func visitChildren(process string, seen map[string]bool) {
	threads, _ := filepath.Glob("/proc/" + process + "/task/[0-9]*/children")
	for _, thread := range threads {
		children, _ := os.ReadFile(thread)
		for child := range strings.FieldsSeq(string(children)) {
			line, _ := os.ReadFile("/proc/" + child + "/cmdline")
			seen[string(line)] = true
			visitChildren(child, seen)
		}
	}
}

func TestPostgresConf(t *testing.T) {
	conf := PostgresConf(4096*quantity.MiB, 300)
	for name, want := range map[string]string{
		"max_connections": "300", "shared_buffers": "1024MB", "effective_cache_size": "2048MB", "maintenance_work_mem": "256MB", "work_mem": "3495kB",
	} {
		if conf[name] != want {
			t.Errorf("%s = %q, want %q", name, conf[name], want)
		}
	}
}

func TestConnectionLimit(t *testing.T) {
	if got := (stack.Replicas{Min: 1, Max: 3}).Connections(); got != 66 {
		t.Errorf("got %d, want 2 colours × (3 replicas + 1 surge) × 8 + 2", got)
	}
}
