package server

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/infra/catalog"
)

// instancesInTest are three instances and their Sentinels that the scripts of the pods start. The IP addresses of the loopback interface
// are their DNS names.
type instancesInTest struct {
	t                   *testing.T
	port, sentinelPort  string
	public, key, bundle string
	all                 []*instanceInTest
}

type instanceInTest struct {
	of               *instancesInTest
	address, folder  string
	server, sentinel *running
	log              output
}

func startInstances(t *testing.T, passwords map[string]string) *instancesInTest {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); errors.Is(err, exec.ErrNotFound) {
		t.Skip("needs Redis 7: apt-get install redis-server")
	}
	s := &instancesInTest{t: t}
	for _, port := range []*string{&s.port, &s.sentinelPort} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		_, *port, _ = net.SplitHostPort(listener.Addr().String())
	}
	s.public, s.key, s.bundle = newCertificate(t)
	for i := range 3 {
		folder, err := os.MkdirTemp("/tmp", "redis") // t.TempDir is too long for a socket's path
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(folder) })
		s.all = append(s.all, &instanceInTest{of: s, address: fmt.Sprintf("127.0.0.%d", i+1), folder: folder})
	}
	for _, instance := range s.all {
		instance.write()
	}
	s.grant(passwords)
	return s
}

// described is the server as the program describes it.
func (s *instancesInTest) described() Redis {
	server := Redis{Settings: "maxmemory 16mb\nappendonly yes\ndir " + AppendFolder + "\ninclude " + RedisSocket + "/instance.conf\n"}
	for _, instance := range s.all {
		server.Instances = append(server.Instances, instance.address)
	}
	return server
}

// here replaces the paths and ports of a pod by those of the test.
func (i *instanceInTest) here(text string) string {
	return strings.NewReplacer("tls-port 6379", "tls-port "+i.of.port, "tls-port 26379", "tls-port "+i.of.sentinelPort, "bind * -::*", "bind "+i.address,
		CertificateFolder, i.folder, AdminFolder, i.folder, RedisFolder, i.folder, RedisSocket, i.folder+"/run", SentinelFolder, i.folder+"/sentinel",
		AppendFolder, i.folder).Replace(text)
}

func (i *instanceInTest) write() {
	i.of.t.Helper()
	if err := errors.Join(os.Mkdir(i.folder+"/run", 0o700), os.Mkdir(i.folder+"/sentinel", 0o700)); err != nil {
		i.of.t.Fatal(err)
	}
	content := map[string]string{
		"redis.conf": i.here(i.of.described().Conf()), "tls.crt": i.of.public, "tls.key": i.of.key, AuthorityFile: i.of.bundle,
	}
	for _, name := range []string{"start.sh", "users.sh", "primary.sh", "rights.sh", "instance.sh", "sentinel.sh", "everywhere.sh"} {
		content[name] = strings.ReplaceAll(Script("redis/"+name), "sleep 5", "sleep 0.5")
	}
	content["sentinel.sh"] = strings.ReplaceAll(content["sentinel.sh"], "bind * -::*", "bind "+i.address)
	i.put(content)
}

func (i *instanceInTest) put(content map[string]string) {
	i.of.t.Helper()
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(i.folder, name), []byte(text), 0o600); err != nil {
			i.of.t.Fatal(err)
		}
	}
}

// grant writes the ACL file and the passwords of all instances.
func (s *instancesInTest) grant(passwords map[string]string) {
	s.t.Helper()
	acl := NobodyElse + Administrator.Line(passwords[admin]) + User{Name: "order-service", Access: catalog.Access{
		Keys: []string{"events"}, Commands: []string{"xadd", "ping"},
	}}.Line(passwords["order-service"])
	for _, instance := range s.all {
		instance.put(map[string]string{UsersFile: acl, PasswordFile: passwords[admin]})
	}
}

// command has the environment of the pods.
func (i *instanceInTest) command(name string, arguments ...string) *exec.Cmd {
	command := exec.Command(name, arguments...)
	command.Dir = i.folder
	command.Env = []string{"PATH=" + i.folder + ":/usr/bin:/bin"}
	environment := i.of.described().Environment()
	maps.Copy(environment, map[string]string{
		"HOSTNAME": i.address, "PORT": i.of.port, "SENTINEL_PORT": i.of.sentinelPort, "PATIENCE": "30", "CERTIFICATE": CertificateFolder,
		"SOCKET": RedisSocket + "/redis.sock", "PASSWORD_FILE": AdminFolder + "/" + PasswordFile, "AUTHORITY": RedisFolder + "/" + AuthorityFile,
	})
	for name, value := range environment {
		command.Env = append(command.Env, name+"="+i.here(value))
	}
	return command
}

// running is a process of a pod. ended is closed when it has ended.
type running struct {
	*exec.Cmd
	ended chan struct{}
}

// run starts a script, as a container does.
func (i *instanceInTest) run(script string) *running {
	i.of.t.Helper()
	command := i.command("/bin/sh", i.folder+"/"+script)
	command.Stdout, command.Stderr = &i.log, &i.log
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		i.of.t.Fatal(err)
	}
	started := &running{command, make(chan struct{})}
	go func() { _ = command.Wait(); close(started.ended) }()
	i.of.t.Cleanup(started.kill)
	return started
}

// derived is the password of peers that follows from one of the administrator's.
func derived(password string) string { return Hash("peer" + password) }

func (r *running) kill() {
	_ = r.Process.Kill()
	<-r.ended
}

func (i *instanceInTest) start() { i.server, i.sentinel = i.run("instance.sh"), i.run("sentinel.sh") }

// ask runs a command as a user at a port.
func (i *instanceInTest) ask(port, user, password string, command ...string) string {
	cli := i.command("timeout", append([]string{
		"5", "redis-cli", "--tls", "--cacert", i.folder + "/" + AuthorityFile, "-h", i.address, "-p", port, "--user", user, "--no-auth-warning",
	}, command...)...)
	cli.Env = append(cli.Env, "REDISCLI_AUTH="+password)
	output, _ := cli.CombinedOutput()
	return strings.TrimSpace(string(output))
}

func (i *instanceInTest) admin(command ...string) string {
	return i.ask(i.of.port, admin, "admin-1", command...)
}

// answers waits until the server at the port answers.
func (i *instanceInTest) answers(port, password string) {
	i.of.t.Helper()
	for deadline := time.Now().Add(time.Minute); i.ask(port, admin, password, "PING") != "PONG"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			i.of.t.Fatalf("%s doesn't answer\n%s", i.address, i.log.String())
		}
	}
}

// primary waits until an instance other than not is the primary with two replicas, which all Sentinels know.
func (s *instancesInTest) primary(t *testing.T, password string, not *instanceInTest) (found *instanceInTest) {
	t.Helper()
	var seen string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		found, seen = nil, ""
		for _, instance := range s.all {
			role := instance.ask(s.port, admin, password, "INFO", "replication")
			if strings.Contains(role, "role:master") && strings.Contains(role, "connected_slaves:2") {
				found = instance
			}
			seen += instance.address + ": " + role + "\n"
		}
		if found == nil || found == not {
			continue
		}
		agree := 0
		for _, instance := range s.all {
			instance.ask(s.sentinelPort, admin, password, "SENTINEL", "DEBUG", "info-period", "500", "publish-period", "200") // instead of 10 s and 2 s
			known := instance.ask(s.sentinelPort, admin, password, "SENTINEL", "MASTER", "stream")
			if strings.Contains(known, "ip\n"+found.address+"\n") && strings.Contains(known, "num-slaves\n2\nnum-other-sentinels\n2\n") {
				agree++
			}
			seen += known + "\n"
		}
		if agree == len(s.all) {
			return found
		}
	}
	t.Fatalf("no primary with two replicas:\n%s%s%s%s", seen, s.all[0].log.String(), s.all[1].log.String(), s.all[2].log.String())
	return nil
}

func TestInstancesScripts(t *testing.T) {
	t.Parallel()
	s := startInstances(t, map[string]string{admin: "admin-1", "order-service": "orders-1"})
	want := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, instance := range s.all { // as a StatefulSet does
		instance.start()
		instance.answers(s.port, "admin-1")
	}
	first := s.primary(t, "admin-1", nil)
	if first != s.all[0] {
		t.Fatalf("%s is the first primary, want the first instance", first.address)
	}
	setUp := func() {
		t.Helper()
		if output, err := first.command("/bin/sh", first.folder+"/everywhere.sh").CombinedOutput(); err != nil {
			t.Fatalf("everywhere.sh: %v\n%s\n%s", err, output, first.log.String())
		}
	}
	setUp()

	t.Run("the Sentinels name the primary to services, and do nothing else for them", func(t *testing.T) {
		sentinel := func(command ...string) string {
			return s.all[1].ask(s.sentinelPort, "order-service", "orders-1", command...)
		}
		want(sentinel("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "stream"), first.address)
		want(sentinel("SENTINEL", "SENTINELS", "stream"), s.all[2].address)
		want(sentinel("SENTINEL", "FAILOVER", "stream"), "NOPERM")
		want(s.all[1].ask(s.sentinelPort, "default", "", "PING"), "NOAUTH")
	})
	t.Run("replicas confirm writes, and refuse their own", func(*testing.T) {
		batch := first.command("redis-cli", "--tls", "--cacert", first.folder+"/"+AuthorityFile, "-h", first.address, "-p", s.port, "--user", "order-service", "--no-auth-warning")
		batch.Env, batch.Stdin = append(batch.Env, "REDISCLI_AUTH=orders-1"), strings.NewReader("XADD events * n 1\nWAIT 2 10000\n")
		output, _ := batch.CombinedOutput()
		want(string(output), "\n2\n")
		want(s.all[1].ask(s.port, "order-service", "orders-1", "XADD", "events", "*", "n", "2"), "READONLY")
	})

	var second *instanceInTest
	t.Run("a primary that is restarted lets a replica take over, and follows it", func(t *testing.T) {
		first.server.kill()
		first.server = first.run("instance.sh")
		second = s.primary(t, "admin-1", first)
		want(second.admin("XLEN", "events"), "1")
		want(first.admin("XLEN", "events"), "1")
		want(first.admin("ROLE"), second.address)
	})
	t.Run("a Sentinel in a new pod is the same Sentinel", func(t *testing.T) {
		other := s.all[slices.IndexFunc(s.all, func(i *instanceInTest) bool { return i != first && i != second })]
		other.sentinel.kill()
		if err := os.RemoveAll(other.folder + "/sentinel/sentinel.conf"); err != nil {
			t.Fatal(err)
		}
		other.sentinel = other.run("sentinel.sh")
		if primary := s.primary(t, "admin-1", first); primary != second {
			t.Errorf("%s is the primary, want still %s", primary.address, second.address)
		}
	})
	t.Run("passwords can be rotated twice", func(t *testing.T) {
		for _, admins := range []string{"admin-2,admin-1", "admin-3,admin-2"} {
			s.grant(map[string]string{admin: admins, "order-service": "orders-1"})
			setUp()
			for _, instance := range s.all { // the kubelet restarts the container
				select {
				case <-instance.sentinel.ended:
				case <-time.After(30 * time.Second):
					t.Fatalf("a Sentinel doesn't end when the passwords change\n%s", instance.log.String())
				}
			}
			current, _, _ := strings.Cut(admins, ",")
			for _, instance := range s.all {
				instance.sentinel = instance.run("sentinel.sh")
				instance.answers(s.sentinelPort, current)
			}
			for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
				if !slices.ContainsFunc(s.all, func(i *instanceInTest) bool {
					return !strings.Contains(i.ask(s.port, admin, current, "CONFIG", "GET", "masterauth"), derived(current))
				}) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the password of the primary isn't changed\n%s", first.log.String())
				}
			}
		}
		second.ask(s.port, admin, "admin-3", "CLIENT", "KILL", "TYPE", "replica")
		if primary := s.primary(t, "admin-3", first); primary != second {
			t.Errorf("%s is the primary, want still %s", primary.address, second.address)
		}
	})
	t.Run("no password is an argument or in a log", func(t *testing.T) {
		processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		for _, path := range processes {
			arguments, _ := os.ReadFile(path) // it may have ended
			if strings.Contains(string(arguments), "redis") {
				shown.Write(arguments)
			}
		}
		for _, instance := range s.all {
			shown.WriteString(instance.log.String())
		}
		for lines := bufio.NewScanner(strings.NewReader(shown.String())); lines.Scan(); {
			for _, password := range []string{"admin-1", "admin-3", "orders-1", derived("admin-1"), derived("admin-3")} {
				if strings.Contains(lines.Text(), password) {
					t.Errorf("a password is shown: %s", lines.Text())
				}
			}
		}
	})
}
