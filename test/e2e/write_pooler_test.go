package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// The services move to a pooler in front of Postgres, and back to Postgres, under load: no request is lost.
func TestServicesMoveToAPoolerAndBack(t *testing.T) {
	// The image of PgBouncer isn't in the registry of the node by default.
	if printed, err := kit.RunFor(20*time.Minute, "env", "PLATFORM_POSTGRES_POOLER=1", "make", "up"); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	move := func(change ...string) {
		t.Helper()
		kit.Output(t, slices.Concat([]string{"pulumi", "config"}, change, []string{"--path", "--stack", "local"})...)
		if printed, err := kit.PulumiUp(kit.Root); err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
	}
	back := func() { move("rm", "platform:postgres.pooler") }
	t.Cleanup(func() {
		if _, err := kit.Run("pulumi", "config", "get", "platform:postgres.pooler", "--path", "--stack", "local"); err == nil {
			back() // the test has failed
		}
	})
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))

	kit.UnderLoad(t, func() map[string]string {
		move("set", "platform:postgres.pooler", "1")
		return nil
	})
	api.OrderAndAwait(t, token)
	connected(t, true)
	const unlimited = `SELECT string_agg(rolname, ' ') FROM pg_roles LEFT JOIN pg_db_role_setting ON setrole = pg_roles.oid
		WHERE rolcanlogin AND rolname ~ '_service_' AND 'statement_timeout=3s' <> ALL (coalesce(setconfig, '{}'))`
	if roles, err := kit.SQL("postgres", unlimited, ""); err != nil || roles != "" { // a pooler passes on no parameters of clients
		t.Errorf("roles without a timeout of statements: %s, %v", roles, err)
	}

	kit.UnderLoad(t, func() map[string]string {
		back()
		return nil
	})
	api.OrderAndAwait(t, token)
	connected(t, false)
	if left := kit.Output(t, "kubectl", "get", "poolers.postgresql.cnpg.io,deployments", "--namespace=data", "--output=name"); strings.Contains(left, "pooler") {
		t.Errorf("the pooler stays: %s", left)
	}
}

// connected waits until the live replicas of the services with a database connect to Postgres directly, or only through the pooler. The
// standby versions connect as they did when they were live.
func connected(t *testing.T, pooled bool) {
	t.Helper()
	addresses := func(namespace, selector string) []string {
		return strings.Fields(kit.Output(t, "kubectl", "get", "pods", "--namespace="+namespace, "--selector="+selector, "--output=jsonpath={.items[*].status.podIP}"))
	}
	kit.Eventually(t, 2*time.Minute, "the services connect to Postgres as they should", func() error {
		listed, err := kit.SQL("postgres", "SELECT DISTINCT host(client_addr) FROM pg_stat_activity WHERE usename ~ '_service_'", "")
		clients := strings.Fields(listed)
		isClient := func(address string) bool { return slices.Contains(clients, address) }
		if err == nil && pooled != slices.ContainsFunc(addresses("data", "platform.example/of=postgres-pooler"), isClient) {
			err = fmt.Errorf("the pooler is none of the clients %v", clients)
		}
		for _, service := range kit.ServiceNames()[1:] { // all but the gateway have a database
			colour := strings.TrimPrefix(kit.LiveDeployment(t, service), service+"-")
			live := addresses("apps", "app.kubernetes.io/name="+service+",colour="+colour)
			if direct := slices.ContainsFunc(live, isClient); direct == pooled {
				err = errors.Join(err, fmt.Errorf("%s connects directly: %t", service, direct))
			}
		}
		return err
	})
}
