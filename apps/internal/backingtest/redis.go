package backingtest

import (
	"context"
	"syscall"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

const redisPassword = "redis-of-a-test"

// Redis is a running Redis.
type Redis struct {
	t       testing.TB
	port    string
	dir     string
	prefix  string // of the variables in which services are told of it
	args    []string
	process *process
}

// StartRedis runs an empty cache until the test ends.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	return startRedis(t, "REDIS_", "--appendonly", "no")
}

// StartStream runs a Redis for streams, which keeps what it was told, until the test ends.
func StartStream(t testing.TB) *Redis {
	t.Helper()
	return startRedis(t, "STREAM_", "--appendonly", "yes", "--maxmemory-policy", "noeviction")
}

func startRedis(t testing.TB, prefix string, args ...string) *Redis {
	t.Helper()
	r := &Redis{t: t, port: freePort(t), dir: t.TempDir(), prefix: prefix, args: args}
	r.Start()
	return r
}

// Start starts it, for the first time or after Stop, at the same address; a cache is empty then.
func (r *Redis) Start() {
	r.t.Helper()
	binary := find(r.t, "redis-server", "redis-server")
	r.process = start(r.t, nil, syscall.SIGKILL, binary, append([]string{"--bind", "127.0.0.1", "--port", r.port,
		"--dir", r.dir, "--save", "", "--requirepass", redisPassword}, r.args...)...)
	client := r.Client()
	defer func() { _ = client.Close() }()
	r.process.waitFor("redis-server", func(ctx context.Context) error { return client.Ping(ctx).Err() })
}

// Stop stops it at once, as a crash would.
func (r *Redis) Stop() { r.process.stop() }

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

// Client returns a client of it, for what a test wants to see or to change.
func (r *Redis) Client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: r.Addr(), Password: redisPassword})
}

// Addr is its host:port.
func (r *Redis) Addr() string { return "127.0.0.1:" + r.port }

// Env is the environment of a service that uses it.
func (r *Redis) Env() map[string]string {
	return map[string]string{r.prefix + "ADDR": r.Addr(), r.prefix + "PASSWORD": redisPassword}
}
