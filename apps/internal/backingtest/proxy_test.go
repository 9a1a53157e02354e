package backingtest

import (
	"testing"
	"time"
)

func TestProxyDelaysAndReportsDeadServer(t *testing.T) {
	redis := StartRedis(t)
	proxy := StartProxy(t, redis.Addr())
	if got := proxy.Env(redis.Env("user-service"))["REDIS_ADDR"]; got != proxy.Addr() {
		t.Fatalf("the environment names %s, not the proxy", got)
	}
	client := redis.Client()
	client.Options().Addr = proxy.Addr()
	defer func() { _ = client.Close() }()
	const delay = 200 * time.Millisecond
	took := func() time.Duration {
		t.Helper()
		start := time.Now()
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	took() // connects
	proxy.Delay(delay)
	if d := took(); d < delay {
		t.Errorf("a response took %s, want at least %s", d, delay)
	}
	proxy.Delay(0)
	if d := took(); d >= delay {
		t.Errorf("after the delay a response took %s", d)
	}
}
