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
	process *process
}

// StartRedis runs an empty Redis until the test ends.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	r := &Redis{t: t, port: freePort(t), dir: t.TempDir()}
	r.Start()
	return r
}

// Start starts it, for the first time or after Stop, at the same address and empty.
func (r *Redis) Start() {
	r.t.Helper()
	binary := find(r.t, "redis-server", "redis-server")
	r.process = start(r.t, nil, syscall.SIGKILL, binary, "--bind", "127.0.0.1", "--port", r.port, "--dir", r.dir,
		"--save", "", "--appendonly", "no", "--requirepass", redisPassword)
	client := r.Client()
	defer func() { _ = client.Close() }()
	r.process.waitFor("redis-server", func(ctx context.Context) error { return client.Ping(ctx).Err() })
}

// Stop stops it at once, as a crash would.
func (r *Redis) Stop() { r.process.stop() }

// Hang makes it answer nothing any more, with its connections open.
func (r *Redis) Hang() {
	r.t.Helper()
	if err := r.process.command.Process.Signal(syscall.SIGSTOP); err != nil {
		r.t.Fatalf("stopping Redis: %v", err)
	}
}

// Client returns a client of it, for what a test wants to see or to change.
func (r *Redis) Client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:" + r.port, Password: redisPassword})
}

// Env is the environment of a service that uses it.
func (r *Redis) Env() map[string]string {
	return map[string]string{"REDIS_ADDR": "127.0.0.1:" + r.port, "REDIS_PASSWORD": redisPassword}
}
