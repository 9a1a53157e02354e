package redis_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/redis"
)

const service = "user-service" // the role of these tests

// with returns env with the changes; "" unsets a variable.
func with(env, changes map[string]string) map[string]string {
	changed := maps.Clone(env)
	maps.Copy(changed, changes)
	return changed
}

func read(env map[string]string) (redis.Config, error) {
	e := config.From(func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	c := redis.ReadCache(e)
	return c, e.Err()
}

func open(t *testing.T, env map[string]string) *goredis.Client {
	t.Helper()
	c, err := read(env)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.Open(c, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestTLS(t *testing.T) {
	server := backingtest.StartRedis(t)
	good, other := server.Env(service), backingtest.OtherAuthority(t)
	_, port, err := net.SplitHostPort(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		changes map[string]string
		fault   string // "": it connects
	}{
		"by address":                            {nil, ""},
		"by name":                               {map[string]string{"REDIS_ADDR": "localhost:" + port}, ""},
		"by the second of two authorities":      {map[string]string{"REDIS_CA_CERTIFICATE": other + good["REDIS_CA_CERTIFICATE"]}, ""},
		"with a server of another authority":    {map[string]string{"REDIS_CA_CERTIFICATE": other}, "certificate signed by unknown authority"},
		"with a certificate that no root signs": {map[string]string{"REDIS_CA_CERTIFICATE": ""}, "certificate signed by unknown authority"},
		"with the server of another host":       {map[string]string{"REDIS_ADDR": "0.0.0.0:" + port}, "certificate is valid for 127.0.0.1, not 0.0.0.0"},
		"by one side alone":                     {map[string]string{"REDIS_TLS": "false", "REDIS_CA_CERTIFICATE": ""}, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			client := open(t, with(good, c.changes))
			err := client.Ping(t.Context()).Err()
			// On a busy machine the client may give up a handshake before it fails for the expected reason.
			for deadline := time.Now().Add(10 * time.Second); errors.Is(err, context.DeadlineExceeded) && time.Now().Before(deadline); {
				err = client.Ping(t.Context()).Err()
			}
			if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("%v, want %q", err, c.fault)
			}
		})
	}
}

func TestUserIsAuthenticated(t *testing.T) {
	server := backingtest.StartRedis(t)
	client, admin := open(t, server.Env(service)), server.Client()
	defer func() { _ = admin.Close() }()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if list := admin.ClientList(t.Context()).Val(); !strings.Contains(list, "user="+service+" ") {
		t.Errorf("connected are\n%s", list)
	}
}

func TestInvalidConfiguration(t *testing.T) {
	good := map[string]string{"REDIS_ADDR": "h:6379", "REDIS_PASSWORD": "hunter2"}
	authority := backingtest.Authority(t)
	for name, c := range map[string]struct {
		changes map[string]string
		fault   string
	}{
		"an authority without TLS": {map[string]string{"REDIS_CA_CERTIFICATE": authority},
			"REDIS_CA_CERTIFICATE is set but not used: it needs REDIS_TLS=true"},
		"an authority though TLS is off": {map[string]string{"REDIS_TLS": "false", "REDIS_CA_CERTIFICATE": authority},
			"REDIS_CA_CERTIFICATE is set but not used: it needs REDIS_TLS=true"},
		"no PEM":        {map[string]string{"REDIS_TLS": "true", "REDIS_CA_CERTIFICATE": "hunter2"}, "REDIS_CA_CERTIFICATE holds no certificate"},
		"no yes and no": {map[string]string{"REDIS_TLS": "on"}, `REDIS_TLS is "on": allowed are true, false`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(with(good, c.changes))
			if err == nil || !strings.Contains(err.Error(), "\n  - "+c.fault) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, want %s and no secret", err, c.fault)
			}
		})
	}
	if _, err := read(good); err != nil {
		t.Error(err)
	}
	e := config.From(func(name string) (string, bool) { return authority, name == "STREAM_CA_CERTIFICATE" })
	redis.ReadStream(e)
	if err := e.Err(); err == nil || !strings.Contains(err.Error(), "STREAM_CA_CERTIFICATE is set but not used: it needs STREAM_TLS=true") {
		t.Errorf("of the stream: %v", err)
	}
}

// pooled opens n connections and leaves them idle in the pool of client.
func pooled(t *testing.T, client *goredis.Client, count int) {
	t.Helper()
	var held []*goredis.Conn
	for range count {
		c := client.Conn()
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for _, c := range held {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A command has one try, which must not use a closed connection.
func TestConnectionsClosedByServerAreNotUsed(t *testing.T) {
	const connections = 5
	for name, end := range map[string]func(*testing.T, *backingtest.Redis){
		"by a crash": func(_ *testing.T, server *backingtest.Redis) { server.Stop(); server.Start() },
		"politely": func(t *testing.T, server *backingtest.Redis) { // TLS sends an alert first
			admin := server.Client()
			defer func() { _ = admin.Close() }()
			if n := admin.ClientKillByFilter(t.Context(), "USER", service).Val(); n != connections {
				t.Fatalf("%d connections were closed, want %d", n, connections)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := backingtest.StartRedis(t)
			client := open(t, server.Env(service))
			pooled(t, client, connections)
			end(t, server)
			for range 2 * connections {
				if err := client.Ping(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
			}
			if stale := client.PoolStats().StaleConns; stale == 0 {
				t.Error("no connection of the pool was found closed: this shows nothing")
			}
		})
	}
}

// A service gets a new password when its release is replaced. Until then it uses its open connections.
func TestOpenConnectionsSurvivePasswordChange(t *testing.T) {
	const connections = 3
	server := backingtest.StartRedis(t)
	client, admin := open(t, server.Env(service)), server.Client()
	defer func() { _ = admin.Close() }()
	pooled(t, client, connections)
	if err := admin.Do(t.Context(), "ACL", "SETUSER", service, "resetpass", ">another").Err(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, server.Env(service)).Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Fatalf("the old password is still accepted: this shows nothing: %v", err)
	}
	for range 100 {
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if stats := client.PoolStats(); stats.TotalConns != connections || stats.StaleConns != 0 {
		t.Errorf("of %d connections %d are left, and %d were dropped", connections, stats.TotalConns, stats.StaleConns)
	}
}

// Only the first connection costs the server a signature.
func TestTLSSessionsAreResumed(t *testing.T) {
	server := backingtest.StartRedis(t)
	client := open(t, server.Env(service))
	for i, want := range []bool{false, true, true} {
		connection, err := client.Options().Dialer(t.Context(), "tcp", server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if got := connection.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState().DidResume; got != want {
			t.Errorf("connection %d is resumed: %t, want %t", i, got, want)
		}
		// The server sends the session ticket before its first response.
		if _, err := io.WriteString(connection, "PING\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := connection.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if err := connection.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
