package lifecycle

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// The data and the backups of a platform survive an upgrade of Postgres to another major version, from which there's no way back.
func TestPostgresUpgradeKeepsTheData(t *testing.T) {
	run(t, 2*time.Minute, "down")
	t.Cleanup(func() { run(t, 2*time.Minute, "down") })
	run(t, 15*time.Minute, "up")
	user := api().SignUp(t)
	order := api().OrderAndAwait(t, api().MustSignIn(t, user))

	const limit = 40 * time.Minute // it may build the image, and makes two backups
	printed, err := kit.RunFor(limit, "make", "postgres-upgrade", "TO=17")
	if err != nil || !strings.Contains(printed, "upgraded postgres-1 from 15 to 17 in ") {
		t.Fatalf("%v\n%s", err, printed)
	}
	t.Log(printed)
	const ask = `eval "$(make -s env)" && kubectl exec --namespace=data service/postgres --container=postgres -- psql -tA -d postgres -c "SHOW server_version_num"`
	if version := shell(t, ask); !strings.HasPrefix(version, "17") {
		t.Errorf("the server has version %s", version)
	}
	token := api().MustSignIn(t, user)
	api().MustCall(t, http.StatusOK, http.MethodGet, "/api/orders/"+order.ID, token, nil)
	api().OrderAndAwait(t, token)
	for to, want := range map[string]string{"15": "data of a later version can't be read by an earlier one", "17": "has this version already"} {
		if _, err := kit.RunFor(limit, "make", "postgres-upgrade", "TO="+to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("TO=%s: %v", to, err)
		}
	}
	if printed, err := kit.RunFor(limit, "bash", "-c", "cp docs/recovery.md .build/ && make restore-drill; status=$?; cp .build/recovery.md docs/; exit $status"); err != nil {
		t.Errorf("a restore of the new version: %v\n%s", err, printed)
	}
}
