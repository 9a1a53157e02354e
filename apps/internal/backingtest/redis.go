package backingtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
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

// Redis is a running Redis. It speaks TLS only, and a service may do there what
// it says it needs and nothing more: a test fails in which one was refused something.
type Redis struct {
	t       testing.TB
	port    string
	dir     string
	prefix  string            // of the variables in which services are told of it
	rules   map[string]string // by service
	args    []string
	process *process
}

// StartRedis runs an empty cache until the test ends.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	return startRedis(t, "REDIS_", accesses(t, "cache"), "--appendonly", "no")
}

// StartStream runs a Redis for streams, which keeps what it was told, until the test ends.
func StartStream(t testing.TB) *Redis {
	t.Helper()
	return startRedis(t, "STREAM_", accesses(t, "stream"), "--appendonly", "yes", "--maxmemory-policy", "noeviction")
}

func startRedis(t testing.TB, prefix string, rules map[string]string, args ...string) *Redis {
	t.Helper()
	r := &Redis{t: t, port: freePort(t), dir: t.TempDir(), prefix: prefix, rules: rules}
	server, users := certify(t, r.dir, nil), filepath.Join(r.dir, "users.acl")
	if err := os.WriteFile(users, []byte(aclFile(rules)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.args = append([]string{"--bind", "127.0.0.1", "--port", "0", "--tls-port", r.port, "--tls-auth-clients", "no",
		"--tls-cert-file", server.certificate, "--tls-key-file", server.key, "--aclfile", users, "--dir", r.dir, "--save", ""}, args...)
	r.Start()
	t.Cleanup(r.noneRefused) // what uses it was started later, and has ended
	return r
}

// Start starts it, for the first time or after Stop, at the same address; a cache is empty then.
func (r *Redis) Start() {
	r.t.Helper()
	r.process = start(r.t, nil, syscall.SIGKILL, Find(r.t, "redis-server", "redis-server"), r.args...)
	client := r.Client()
	defer func() { _ = client.Close() }()
	r.process.waitFor("redis-server", func(ctx context.Context) error { return client.Ping(ctx).Err() })
}

// Stop stops it at once, as a crash would.
func (r *Redis) Stop() {
	r.t.Helper()
	r.noneRefused()
	r.process.stop()
}

// Hang makes it answer nothing any more, with its connections open, until Resume.
func (r *Redis) Hang() { r.process.signal(syscall.SIGSTOP) }

// Resume ends Hang.
func (r *Redis) Resume() { r.process.signal(syscall.SIGCONT) }

// Wipe takes away all that it holds.
func (r *Redis) Wipe() {
	r.t.Helper()
	client := r.Client()
	defer func() { _ = client.Close() }()
	if err := client.FlushAll(r.t.Context()).Err(); err != nil {
		r.t.Fatalf("wiping Redis: %v", err)
	}
}

// noneRefused fails the test where a service was refused what it asked for. It
// would show nowhere else: services go on without Redis.
func (r *Redis) noneRefused() {
	r.t.Helper()
	select {
	case <-r.process.exited:
		return
	default:
	}
	r.Resume()
	refusals, err := r.refusals()
	if err != nil {
		r.t.Errorf("asking Redis what it has refused: %v", err)
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

// Client returns a client of it who may do everything, for what a test wants to see or to change.
func (r *Redis) Client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: r.Addr(), Password: redisPassword, Dialer: r.dialer()})
}

// ClientOf returns a client that is signed in as a service, for parts of one.
func (r *Redis) ClientOf(service string) *goredis.Client {
	r.mustKnow(service)
	return goredis.NewClient(&goredis.Options{
		Addr: r.Addr(), Username: service, Password: passwordOf(service), Dialer: r.dialer(),
		// As the services do: they may not send these.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// dialer is that of the services: it notices connections that Stop has ended.
func (r *Redis) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM([]byte(Authority(r.t)))
	return redis.Dialer(&tls.Config{RootCAs: authorities, ServerName: "localhost"}, dialTimeout)
}

// Addr is its host:port.
func (r *Redis) Addr() string { return "127.0.0.1:" + r.port }

// Env is the environment in which a service uses it, signed in as itself.
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
		r.t.Fatalf("%s doesn't say in testdata what it may do in the Redis of %s*", service, strings.ToLower(r.prefix))
	}
}
