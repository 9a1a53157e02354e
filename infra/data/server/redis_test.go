package server

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"platform.example/infra/catalog"
)

// redisInTest is a Redis that the pod's script starts, on a free port and in a folder of the test.
type redisInTest struct {
	t            *testing.T
	folder, port string
	process      *exec.Cmd
	log          output
}

func startRedis(t *testing.T, passwords map[string]string) *redisInTest {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); errors.Is(err, exec.ErrNotFound) {
		t.Skip("needs Redis 7: apt-get install redis-server")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	folder, err := os.MkdirTemp("/tmp", "redis") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	hurry(t, folder)
	server := &redisInTest{t: t, folder: folder, port: port}
	conf := strings.NewReplacer("tls-port 6379", "tls-port "+port, "bind * -::*", "bind 127.0.0.1",
		CertificateFolder, folder, RedisSocket, folder, AdminFolder, folder).
		Replace(Redis{Settings: "maxmemory 16mb\nappendonly yes\n"}.Conf())
	for name, content := range map[string]string{
		"redis.conf": conf, "start.sh": Script("redis/start.sh"), "users.sh": Script("redis/users.sh"),
	} {
		server.write(name, content)
	}
	server.grant(passwords)
	server.certify()
	server.start()
	t.Cleanup(func() {
		_ = server.process.Process.Signal(os.Interrupt)
		_ = server.process.Wait()
	})
	return server
}

func (s *redisInTest) start() {
	s.t.Helper()
	s.process = s.command("/bin/sh", s.folder+"/start.sh")
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	s.process.WaitDelay = time.Second
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *redisInTest) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.folder, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// grant writes the ACL file.
func (s *redisInTest) grant(passwords map[string]string) {
	s.t.Helper()
	acl := NobodyElse
	for _, user := range []User{
		Administrator,
		Exporter,
		{Name: "user-service", Access: catalog.Access{Keys: []string{"user:*"}, Commands: []string{"get", "set", "ping"}}},
	} {
		if password, granted := passwords[user.Name]; granted {
			acl += user.Line(password)
		}
	}
	s.write(UsersFile, acl)
	s.write(PasswordFile, passwords[admin])
}

// certify gives the server a new certificate by a new authority.
func (s *redisInTest) certify() {
	s.t.Helper()
	public, key, bundle := newCertificate(s.t)
	s.write(AuthorityFile, bundle)
	s.write("tls.key", key)
	s.write("tls.crt", public)
}

// command has the environment of the pods: the server's and the Job's.
func (s *redisInTest) command(name string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(s.t.Context(), name, arguments...)
	command.Dir = s.folder
	command.Env = []string{
		"PATH=" + s.folder + ":/usr/bin:/bin", "CONFIG=" + s.folder, "PATIENCE=30", "CERTIFICATE=" + s.folder, "SOCKET=" + s.folder + "/redis.sock",
		"PASSWORD_FILE=" + s.folder + "/" + PasswordFile, "USERS=" + s.folder + "/" + UsersFile,
		"AUTHORITY=" + s.folder + "/" + AuthorityFile, "HOST=localhost", "PORT=" + s.port,
	}
	return command
}

// setUp runs the Job's script.
func (s *redisInTest) setUp() string {
	s.t.Helper()
	output, err := s.command("/bin/sh", s.folder+"/users.sh").CombinedOutput()
	if err != nil {
		s.t.Fatalf("users.sh: %v\n%s\n%s", err, output, s.log.String())
	}
	return string(output)
}

// ask runs a command as a user.
func (s *redisInTest) ask(user, password string, command ...string) string {
	cli := s.command("redis-cli", append([]string{
		"--tls", "--cacert", s.folder + "/" + AuthorityFile, "-h", "localhost", "-p", s.port, "--user", user, "--no-auth-warning",
	}, command...)...)
	cli.Env = append(cli.Env, "REDISCLI_AUTH="+password)
	output, _ := cli.CombinedOutput()
	return strings.TrimSpace(string(output))
}

func TestAcknowledgedWritesSurviveACrash(t *testing.T) {
	t.Parallel()
	server := startRedis(t, map[string]string{admin: "admin-1"})
	server.setUp()
	const twice = "redis.call('XADD', KEYS[1], '*', 'n', 1) return redis.call('XADD', KEYS[1], '*', 'n', 2)"
	for range 3 {
		if output := server.ask(admin, "admin-1", "EVAL", twice, "1", "events"); !strings.Contains(output, "-") {
			t.Fatal(output)
		}
	}
	server.ask(admin, "admin-1", "XADD", "events", "*", "n", "3")
	// On a busy disk, Redis answers up to two seconds before it writes the file.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if info := server.ask(admin, "admin-1", "INFO", "persistence"); strings.Contains(info, "aof_buffer_length:0") {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the append-only file isn't written:\n%s", info)
		}
	}
	_ = server.process.Process.Kill()
	_ = server.process.Wait()
	server.start()
	server.setUp()
	if left := server.ask(admin, "admin-1", "XLEN", "events"); left != "7" {
		t.Errorf("of 7 entries %s are left\n%s", left, server.log.String())
	}
}

func TestRedisScripts(t *testing.T) {
	t.Parallel()
	server := startRedis(t, map[string]string{admin: "admin-1", monitor: "monitor-1", "user-service": "users-1"})
	first := server.setUp() // waits for the server
	want := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	t.Run("a service has only its permissions", func(*testing.T) {
		want(server.ask("user-service", "users-1", "SET", "user:1", "a"), "OK")
		want(server.ask("user-service", "users-1", "GET", "user:1"), "a")
		want(server.ask("user-service", "users-1", "GET", "order:1"), "NOPERM")
		want(server.ask("user-service", "users-1", "FLUSHALL"), "NOPERM")
		want(server.ask("user-service", "users-1", "CONFIG", "GET", "*"), "NOPERM")
	})
	t.Run("the exporter sees only statistics", func(*testing.T) {
		want(server.ask(monitor, "monitor-1", "INFO", "memory"), "used_memory:")
		want(server.ask(monitor, "monitor-1", "CONFIG", "GET", "maxmemory"), "maxmemory")
		if got := server.ask(monitor, "monitor-1", "SLOWLOG", "LEN"); strings.Contains(got, "NOPERM") {
			t.Errorf("got %q, want a number", got)
		}
		for _, command := range [][]string{{"GET", "user:1"}, {"KEYS", "*"}, {"CONFIG", "SET", "maxmemory", "0"}, {"ACL", "LIST"}} {
			want(server.ask(monitor, "monitor-1", command...), "NOPERM")
		}
	})
	t.Run("a password and TLS are required", func(*testing.T) {
		want(server.ask("user-service", "wrong", "PING"), "WRONGPASS")
		want(server.ask("default", "", "PING"), "NOAUTH")
		plain := server.command("redis-cli", "-h", "localhost", "-p", server.port, "PING")
		if output, _ := plain.CombinedOutput(); strings.Contains(string(output), "PONG") {
			t.Errorf("without TLS got %s", output)
		}
	})
	t.Run("the probe signs in", func(t *testing.T) {
		probe := server.command("/bin/sh", "-c", Answering(server.folder, server.folder))
		if output, err := probe.CombinedOutput(); err != nil {
			t.Errorf("%v %s", err, output)
		}
	})
	t.Run("the former password is accepted until the second rotation", func(t *testing.T) {
		server.grant(map[string]string{admin: "admin-2,admin-1", monitor: "monitor-1", "user-service": "users-2,users-1"})
		if again := server.setUp(); again != first {
			t.Errorf("the second run printed %q, the first %q", again, first)
		}
		want(server.ask("user-service", "users-1", "GET", "user:1"), "a")
		want(server.ask("user-service", "users-2", "GET", "user:1"), "a")
		server.grant(map[string]string{admin: "admin-3,admin-2", monitor: "monitor-1", "user-service": "users-3,users-2"})
		server.setUp()
		want(server.ask("user-service", "users-1", "GET", "user:1"), "WRONGPASS")
		want(server.ask("user-service", "users-2", "GET", "user:1"), "a")
		want(server.ask(admin, "admin-3", "PING"), "PONG")
	})
	t.Run("removed users are deleted", func(*testing.T) {
		server.grant(map[string]string{admin: "admin-3"})
		want(server.setUp(), "user user-service is gone")
		want(server.ask("user-service", "users-3", "PING"), "WRONGPASS")
	})
	t.Run("a renewed certificate is served without a restart", func(t *testing.T) {
		server.certify()
		for deadline := time.Now().Add(30 * time.Second); server.ask(admin, "admin-3", "PING") != "PONG"; {
			if time.Now().After(deadline) {
				t.Fatalf("a client of the new authority gets %s\n%s", server.ask(admin, "admin-3", "PING"), server.log.String())
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	if strings.Contains(first+server.log.String(), "users-1") {
		t.Error("a password is shown")
	}
}
