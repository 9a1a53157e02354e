package backingtest

import (
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

func TestRedisReportsCommandsOutsideTheACL(t *testing.T) {
	redis := StartRedis(t)
	admin, client := redis.Client(), redis.ClientOf("user-service")
	defer func() { _, _ = admin.Close(), client.Close() }()
	if err := client.Set(t.Context(), "user:1", "x", 0).Err(); err != nil {
		t.Error(err)
	}
	if refusals, err := redis.refusals(); err != nil || len(refusals) > 0 {
		t.Errorf("refused is %q, %v", refusals, err)
	}
	for want, err := range map[string]error{
		`a command, "flushall"`: client.FlushAll(t.Context()).Err(),
		`a key, "rate_limit:1"`: client.Set(t.Context(), "rate_limit:1", "x", 0).Err(),
		`a key, "orders"`:       client.Eval(t.Context(), "return redis.call('GET', KEYS[1])", []string{"orders"}).Err(),
		`a command, "del"`:      client.Eval(t.Context(), "return redis.pcall('DEL', KEYS[1])", []string{"user:1"}).Err(),
	} {
		refusals, failed := redis.refusals()
		if failed != nil || !strings.Contains(strings.Join(refusals, "\n"), want) {
			t.Errorf("%s isn't noticed: %v\n%q, %v", want, err, refusals, failed)
		}
	}
	if err := admin.Do(t.Context(), "ACL", "LOG", "RESET").Err(); err != nil {
		t.Fatal(err)
	}
}

func TestRedisRequiresTLSAndPassword(t *testing.T) {
	redis := StartRedis(t)
	for name, options := range map[string]*goredis.Options{
		"without TLS":        {Addr: redis.Addr(), Password: redisPassword, MaxRetries: -1},
		"without a password": {Addr: redis.Addr(), Dialer: redis.dialer(), MaxRetries: -1},
	} {
		client := goredis.NewClient(options)
		if err := client.Ping(t.Context()).Err(); err == nil {
			t.Errorf("%s Redis responds", name)
		}
		_ = client.Close()
	}
}
