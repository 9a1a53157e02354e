package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// restoreLimit is the time limit of a restore: three updates and the recovery.
const restoreLimit = 20 * time.Minute

// awaitArchive waits until the archive has the write-ahead log so far.
func awaitArchive(t *testing.T) {
	t.Helper()
	segment := regexp.MustCompile("[0-9A-F]{24}")
	last := segment.FindString(shell(t, `in_postgres postgres "SELECT pg_walfile_name(pg_switch_wal())"`))
	kit.Eventually(t, 2*time.Minute, "the log is archived", func() error {
		if archived := segment.FindString(shell(t, `in_postgres postgres "SELECT last_archived_wal FROM pg_stat_archiver"`)); last == "" || archived < last {
			return fmt.Errorf("the archive has %q, want %q", archived, last)
		}
		return nil
	})
}

func TestRestoreBringsAMomentBack(t *testing.T) {
	api := kit.Gateway()
	user := api.SignUp(t)
	token := api.MustSignIn(t, user)
	before := api.OrderAndAwait(t, token)
	if printed, err := kit.RunFor(restoreLimit, "make", "backup"); err != nil || !strings.Contains(printed, "is complete") {
		t.Fatalf("%v\n%s", err, printed)
	}
	// A moment is a whole second, and the first order is older.
	moment, err := kit.SQL("postgres", "SELECT to_char(date_trunc('second', clock_timestamp()) + interval '1 second', 'YYYY-MM-DD HH24:MI:SS') FROM pg_sleep(1)", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kit.SQL("postgres", "SELECT pg_sleep(2)", ""); err != nil {
		t.Fatal(err)
	}
	after := api.OrderAndAwait(t, token)
	awaitArchive(t)

	if printed, err := kit.RunFor(restoreLimit, "make", "restore", "AT="+moment, "CONFIRM=yes"); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	t.Cleanup(func() {
		if printed, err := kit.RunFor(restoreLimit, "make", "restore-forget"); err != nil {
			t.Errorf("%v\n%s", err, printed)
		}
	})
	kit.Eventually(t, 2*time.Minute, "the user signs in", func() (err error) {
		token, err = api.SignIn(user)
		return err
	})
	api.MustCall(t, http.StatusOK, http.MethodGet, "/api/orders/"+before.ID, token, nil)
	api.MustCall(t, http.StatusNotFound, http.MethodGet, "/api/orders/"+after.ID, token, nil)
}

func TestRestoreDrillChangesNothing(t *testing.T) {
	const figures = "docs/recovery.md"
	earlier, err := os.ReadFile(figures)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(figures, earlier, 0o644); err != nil {
			t.Error(err)
		}
	})
	user := kit.Gateway().SignUp(t)
	awaitArchive(t)
	cluster := func() string {
		return kit.Output(t, "kubectl", "get", "clusters.postgresql.cnpg.io", "--namespace=data", "--output=jsonpath={.items[*].metadata.uid}")
	}
	before := cluster()
	for range 2 { // the second one finds the archive of the first one's copy
		if printed, err := kit.RunFor(restoreLimit, "make", "restore-drill"); err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
	}
	if now := cluster(); now != before {
		t.Errorf("the clusters of Postgres are %s, want %s", now, before)
	}
	added := strings.TrimPrefix(content(t, figures), string(earlier))
	if !regexp.MustCompile(`^\| \S+ \S+ \| local \| \d+ s \| tables that differ from the live ones: \d+ \|`).MatchString(added) {
		t.Errorf("the figures of the drill are %q", added)
	}
	if _, err := kit.Gateway().SignIn(user); err != nil {
		t.Error(err)
	}
}
