// Package upgrade tests the upgrade of a running platform in place: make upgrade-test FROM=<commit>, which has started the platform of
// that commit.
package upgrade

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

// stores returns the identities of the stores and of their volumes.
func stores(t *testing.T) []string {
	t.Helper()
	printed := kit.Output(t, "kubectl", "get", "statefulsets,persistentvolumeclaims", "--namespace=data",
		`--output=jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.uid}{"\n"}{end}`)
	return slices.Collect(strings.Lines(printed))
}

// formerPostgres begins the identity of the server of earlier versions, which CloudNativePG replaces.
const formerPostgres = "StatefulSet data/postgres "

func TestUpgradeUnderLoadLosesNothing(t *testing.T) {
	api := kit.Gateway()
	user := api.SignUp(t)
	token := api.MustSignIn(t, user)
	order := api.OrderAndAwait(t, token)
	before, versions := stores(t), kit.LiveVersions(t)

	up := func() map[string]string {
		if printed, err := kit.RunFor(15*time.Minute, "make", "up"); err != nil {
			t.Fatalf("make up: %v\n%s", err, printed)
		}
		return nil
	}
	if slices.ContainsFunc(before, func(store string) bool { return strings.HasPrefix(store, formerPostgres) }) {
		run := kit.StartLoad(t)
		up()
		kit.EndOutage(t, run, http.StatusServiceUnavailable)
		up() // deletes the Job that made the former server read-only
	} else {
		kit.UnderLoad(t, up)
	}
	t.Logf("upgraded from %v to %v", versions, kit.LiveVersions(t))

	after := stores(t)
	for _, store := range before {
		// The operator has imported the data of the StatefulSet that earlier versions ran.
		if !slices.Contains(after, store) && !strings.HasPrefix(store, formerPostgres) {
			t.Errorf("the stores and volumes are\n%s\nwithout\n%s", after, store)
		}
	}
	api = kit.Gateway()
	token = api.MustSignIn(t, user)
	kept := api.MustCall(t, http.StatusOK, http.MethodGet, "/api/orders/"+order.ID, token, nil)
	if found, err := kit.ParseJSON[kit.Order](string(kept.Body)); err != nil || found != order {
		t.Errorf("the order is %+v (%v), want %+v", found, err, order)
	}
	api.AwaitNotifications(t, token, "order.created", order)
	if printed, err := kit.Run("pulumi", "preview", "--stack", "local", "--non-interactive", "--expect-no-changes"); err != nil {
		t.Errorf("after the upgrade, a preview finds changes: %v\n%s", err, printed)
	}
}
