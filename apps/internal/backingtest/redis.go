package backingtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"platform.example/apps/internal/redis"
)

const (
	redisPassword = "redis-of-a-test"
	dialTimeout   = 5 * time.Second
)

// Redis is a running Redis. It requires TLS and grants a service only the permissions of its ACL file. A test
// fails if Redis has refused a service's command.
type Redis struct {
	*process
	port   string
	dir    string
	prefix string            // of the environment variables of its address
	rules  map[string]string // by service
	args   []string
}

// StartRedis runs an empty cache until the test ends.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	return startRedis(t, "REDIS_", accessRules(t, "cache"), "--appendonly", "no")
}

// StartStream runs a Redis for streams, which persists its data, until the test ends.
func StartStream(t testing.TB) *Redis {
	t.Helper()
	return startRedis(t, "STREAM_", accessRules(t, "stream"), "--appendonly", "yes", "--maxmemory-policy", "noeviction")
}

func startRedis(t testing.TB, prefix string, rules map[string]string, args ...string) *Redis {
	t.Helper()
	r := &Redis{
		process: &process{t: t, quit: syscall.SIGKILL}, port: freePort(t), dir: t.TempDir(), prefix: prefix, rules: rules,
	}
	server, users := certify(t, r.dir, nil), filepath.Join(r.dir, "users.acl")
	acl := "user default on >" + redisPassword + " ~* &* +@all\n" // the test itself
	for service, rules := range rules {
		acl += "user " + service + " on >" + passwordOf(service) + " " + rules + "\n"
	}
	if err := os.WriteFile(users, []byte(acl), 0o600); err != nil {
		t.Fatal(err)
	}
	r.args = append([]string{"--bind", "127.0.0.1", "--port", "0", "--tls-port", r.port, "--tls-auth-clients", "no",
		"--tls-cert-file", server.certificate, "--tls-key-file", server.key, "--aclfile", users, "--dir", r.dir, "--save", ""}, args...)
	r.Start()
	t.Cleanup(r.checkRefusals) // runs after the services' own cleanup
	return r
}

// Start starts the server, for the first time or after Stop, at the same address. A cache is empty then.
func (r *Redis) Start() {
	r.t.Helper()
	r.start(nil, Find(r.t, "redis-server", "redis-server"), r.args...)
	client := r.Client()
	defer func() { _ = client.Close() }()
	r.waitFor("redis-server", func(ctx context.Context) error { return client.Ping(ctx).Err() })
}

// Stop stops the server at once, like a crash.
func (r *Redis) Stop() {
	r.t.Helper()
	r.checkRefusals()
	r.process.Stop()
}

// Wipe deletes all data.
func (r *Redis) Wipe() {
	r.t.Helper()
	client := r.Client()
	defer func() { _ = client.Close() }()
	if err := client.FlushAll(r.t.Context()).Err(); err != nil {
		r.t.Fatalf("wiping Redis: %v", err)
	}
}

// checkRefusals fails the test if Redis has refused a service's command. Nothing else would show it, because
// services go on without Redis.
func (r *Redis) checkRefusals() {
	r.t.Helper()
	select {
	case <-r.exited:
		return
	default:
	}
	r.Resume()
	refusals, err := r.refusals()
	if err != nil {
		r.t.Errorf("reading the refusals of Redis: %v", err)
	}
	for _, refusal := range refusals {
		r.t.Error(refusal)
	}
}

func (r *Redis) refusals() (refusals []string, err error) {
	client := r.Client()
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	entries, err := client.ACLLog(ctx, 100).Result()
	for _, e := range entries {
		if _, ours := r.rules[e.Username]; ours && e.Reason != "auth" {
			refusals = append(refusals, fmt.Sprintf("Redis has refused %s a %s, %q (%s)", e.Username, e.Reason, e.Object, e.Context))
		}
	}
	return refusals, err
}

// Client returns a client with all permissions for the test itself.
func (r *Redis) Client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: r.Addr(), Password: redisPassword, Dialer: r.dialer()})
}

// ClientOf returns a client with the credentials of a service.
func (r *Redis) ClientOf(service string) *goredis.Client {
	r.mustKnow(service)
	return goredis.NewClient(&goredis.Options{
		Addr: r.Addr(), Username: service, Password: passwordOf(service), Dialer: r.dialer(),
		// As in the services, which may not send these commands.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// dialer returns the dialer of the services, which detects connections that Stop has closed.
func (r *Redis) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM([]byte(Authority(r.t)))
	return redis.Dialer(&tls.Config{RootCAs: authorities, ServerName: "localhost"}, dialTimeout)
}

// Addr returns the server's host:port.
func (r *Redis) Addr() string { return "127.0.0.1:" + r.port }

// Env returns the environment variables of a service that uses the server with its own credentials.
func (r *Redis) Env(service string) map[string]string {
	r.t.Helper()
	r.mustKnow(service)
	return map[string]string{
		r.prefix + "ADDR": r.Addr(), r.prefix + "USERNAME": service, r.prefix + "PASSWORD": passwordOf(service),
		r.prefix + "TLS": "true", r.prefix + "CA_CERTIFICATE": Authority(r.t),
	}
}

func (r *Redis) mustKnow(service string) {
	r.t.Helper()
	if _, known := r.rules[service]; !known {
		r.t.Fatalf("%s has no ACL file in testdata for the Redis of %s*", service, strings.ToLower(r.prefix))
	}
}

// accessRules returns the Redis ACL rules of each service for one kind of Redis, cache or stream. A service
// states them in the file testdata/<kind>.acl of its folder; the platform grants the same.
func accessRules(t testing.TB, kind string) map[string]string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	found := Must[[]string](t)(filepath.Glob(filepath.Join(filepath.Dir(here), "..", "..", "*", "testdata", kind+".acl")))
	rules := map[string]string{}
	for _, path := range found {
		raw := Must[[]byte](t)(os.ReadFile(path))
		service := filepath.Base(filepath.Dir(filepath.Dir(path)))
		rules[service] = strings.Join(strings.Fields(string(raw)), " ")
	}
	return rules
}

func passwordOf(service string) string { return service + "-of-a-test" }
