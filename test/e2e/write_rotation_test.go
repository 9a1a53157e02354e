package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/test/kit"
)

// rotated returns secrets of every kind and of every store, except the authority, whose successor clients must learn first.
func rotated() []string {
	return []string{
		"userServiceDatabasePassword", "orderServiceDatabasePassword", "userServiceCachePassword", "apiGatewayCachePassword",
		"orderServiceStreamPassword", "notificationServiceStreamPassword", "postgresAdminPassword", "redisPassword",
		"streamPassword", "postgresMonitorPassword", "redisMonitorPassword", "streamMonitorPassword", "jwtKeys",
	}
}

func TestRotationOfSecretsLosesNoRequest(t *testing.T) {
	api := kit.Gateway()
	user := api.SignUp(t)
	token := api.MustSignIn(t, user)
	stores := func() string {
		return kit.Output(t, "kubectl", "get", "pods", "--namespace=data", "--selector=app.kubernetes.io/name in (postgres,redis-cache,redis-stream)",
			"--output=jsonpath={range .items[*]}{.metadata.name}={.metadata.uid} {end}")
	}
	before := stores()

	stop := make(chan struct{})
	var users sync.WaitGroup
	var mutex sync.Mutex
	var lost []string
	served := 0
	for _, request := range []func(n int) error{
		func(int) error {
			_, err := api.Expect(http.MethodGet, "/api/users/me", token, nil, http.StatusOK)
			return err
		},
		func(int) error {
			_, err := api.Expect(http.MethodGet, "/api/notifications", token, nil, http.StatusOK)
			return err
		},
		func(n int) error {
			order := map[string]any{"currency": "EUR", "items": []any{map[string]any{"sku": "tea", "quantity": 1, "unit_price": 450}}}
			_, err := api.With("Idempotency-Key", fmt.Sprintf("rotation-%d", n)).
				Expect(http.MethodPost, "/api/orders", token, order, http.StatusCreated)
			return err
		},
	} {
		users.Go(func() {
			ticks := time.NewTicker(200 * time.Millisecond) // below the limit of 1200 per minute
			defer ticks.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-ticks.C:
				}
				err := request(n)
				mutex.Lock()
				served++
				if err != nil {
					lost = append(lost, time.Now().Format(time.TimeOnly)+" "+err.Error())
				}
				mutex.Unlock()
			}
		})
	}
	for _, secret := range rotated() {
		kit.Output(t, "make", "-s", "secrets", "STACK=local", "ROTATE="+secret)
	}
	_, again := kit.Run("make", "-s", "secrets", "STACK=local", "ROTATE=redisPassword")
	_, updated := kit.Run("pulumi", "up", "--stack", "local", "--yes", "--skip-preview", "--non-interactive")
	close(stop)
	users.Wait()

	if updated != nil {
		t.Fatal(updated)
	}
	// Commands inside a store's pod read the password from a file, which the kubelet updates within a minute or so.
	kit.Eventually(t, 3*time.Minute, "the new passwords are in the stores' pods", func() error {
		_, fromPostgres := kit.EmailInPostgres("00000000-0000-0000-0000-000000000000")
		printed, fromRedis := kit.Redis("deployment/redis-cache", "PING")
		if fromRedis == nil && printed != "PONG" {
			fromRedis = fmt.Errorf("redis returns %s", printed)
		}
		return errors.Join(fromPostgres, fromRedis)
	})
	kit.Eventually(t, 2*time.Minute, "the exporters of the stores sign in with the new passwords", func() error {
		up, err := kit.QueryValue("min(pg_up or redis_up)")
		if err == nil && up != 1 {
			err = errors.New("an exporter can't sign in")
		}
		return err
	})
	if again == nil || !strings.Contains(again.Error(), "pulumi up --stack local") {
		t.Errorf("a second rotation without an update in between: %v", again)
	}
	if served < 100 {
		t.Errorf("only %d requests were sent", served)
	}
	if len(lost) > 0 {
		t.Errorf("%d of %d requests were lost, the first:\n%s", len(lost), served, strings.Join(lost[:min(5, len(lost))], "\n"))
	}
	if after := stores(); after != before {
		t.Errorf("the stores were restarted: %s, were %s", after, before)
	}
	if shown := kit.Output(t, "pulumi", "preview", "--stack", "local", "--expect-no-changes", "--non-interactive"); shown == "" {
		t.Error("the preview prints nothing")
	}
}

func TestRotationOfAnUnknownSecretListsTheSecrets(t *testing.T) {
	_, err := kit.Run("make", "-s", "secrets", "STACK=local", "ROTATE=redis")
	if err == nil || !strings.Contains(err.Error(), "redisPassword") {
		t.Errorf("got %v", err)
	}
}
