package faults

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// Without Alertmanager, Prometheus knows that it delivers no alert. Nobody gets this page: the dead man's switch raises the alarm.
func TestUndeliveredAlertsPage(t *testing.T) {
	awaitNoPage(t)
	fault := &fault{t: t}
	defer fault.end()
	fault.noReplica("monitoring", "statefulset/alertmanager")
	began := time.Now()
	kit.Eventually(t, 4*time.Minute, "Prometheus knows", kit.AlertFires(`alertname="NotificationsFailing"`, true))
	t.Logf("NotificationsFailing fires after %s", seconds(time.Since(began)))
	fault.end()
	kit.Eventually(t, 5*time.Minute, "the alert resolves", kit.AlertFires(`alertname="NotificationsFailing"`, false))
}

// A Prometheus that can't write samples has none about itself either.
func TestFailingStoragePages(t *testing.T) {
	awaitNoPage(t)
	seen := newObservation(t)
	server := processes(t, "prometheus")[0]
	info, err := os.Stat(server.Path(""))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	limit := func(bytes string) { // as the server's user, who may change its soft limit
		command := exec.Command("prlimit", "--pid", fmt.Sprint(int(server)), "--fsize="+bytes+":")
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
		if printed, err := command.CombinedOutput(); err != nil {
			t.Errorf("prlimit: %v %s", err, printed)
		}
	}
	defer limit("unlimited")
	limit("1") // each write fails
	seen.watch(seen.began.Add(8 * time.Minute))
	limit("unlimited")
	page := seen.alerts["PrometheusStorageFailing prometheus"]
	if page == nil || page.sent == 0 || page.sent > 3*time.Minute || page.times != 1 {
		t.Errorf("PrometheusStorageFailing: %+v, want one page within three minutes", page)
	}
	for name, alert := range seen.alerts {
		if alert.sent > 0 {
			t.Logf("%s (%s) after %s", name, alert.severity, seconds(alert.sent))
		}
		if alert.sent > 0 && !strings.HasPrefix(name, "PrometheusStorageFailing ") {
			t.Errorf("%s is sent, too", name)
		}
	}
	kit.Eventually(t, 2*time.Minute, "the alert is stored again", kit.AlertFires(`alertname="PrometheusStorageFailing"`, true))
	kit.Eventually(t, 15*time.Minute, "the alert resolves", kit.AlertFires(`alertname="PrometheusStorageFailing"`, false))
}

// Requests of one user that fail, and orders of the same user that are slow, burn the error budgets of two services. It is the last test: the
// alerts on the budget of six hours fire for half an hour.
func TestBudgetBurnPages(t *testing.T) {
	awaitNoPage(t)
	api := kit.Gateway()
	user := api.SignUp(t)
	token := api.MustSignIn(t, user)
	defer startLoad(t)()
	seen, fault := newObservation(t), &fault{t: t}
	defer fault.end()
	fault.trigger("users", "BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.id = '"+user.ID+"')", "IF random() < 0.1 THEN RAISE EXCEPTION 'made by the test'; END IF") // few, so that no breaker opens
	fault.trigger("orders", "BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.user_id = '"+user.ID+"')", "PERFORM pg_sleep(0.7)")
	fault.repeat(2, func() {
		_, _ = api.Call(http.MethodPatch, "/api/users/me", token, map[string]string{"name": "Another"})
	})
	fault.repeat(4, func() { // fewer than the connections of a replica
		_, _ = api.With("Idempotency-Key", rand.Text()).Call(http.MethodPost, "/api/orders", token, kit.TwoTeas())
	})
	pages := []string{"AvailabilityBudgetBurn user-service", "LatencyBudgetBurn order-service"}
	// The share of an hour counts, in which other tests may have sent many requests.
	for deadline := time.Now().Add(8 * time.Minute); time.Now().Before(deadline); seen.watch(time.Now().Add(10 * time.Second)) {
		if !slices.ContainsFunc(pages, func(page string) bool { return seen.alerts[page] == nil || seen.alerts[page].sent == 0 }) {
			break
		}
	}
	fault.end()
	seen.watch(time.Now().Add(time.Minute))
	for _, page := range pages {
		if alert := seen.alerts[page]; alert == nil || alert.severity != "page" || alert.times != 1 {
			t.Errorf("%s: %+v, want one page", page, alert)
		} else {
			t.Logf("%s after %s", page, seconds(alert.sent))
		}
	}
	for name, alert := range seen.alerts {
		if alert.severity == "page" && alert.sent > 0 && !slices.Contains(pages, name) {
			t.Errorf("%s pages too", name)
		}
	}
	kit.Eventually(t, 10*time.Minute, "the alerts on the budget of an hour resolve", kit.AlertFires(`alertname=~".+BudgetBurn", burn="fast"`, false))
}

// trigger adds a trigger to a table of the database that has the same name.
func (f *fault) trigger(database, on, does string) {
	statement := func(text string) {
		if _, err := kit.SQL(database, text, ""); err != nil {
			f.t.Error(err)
		}
	}
	f.later(func() { statement("DROP FUNCTION IF EXISTS alert_test CASCADE") })
	statement("CREATE FUNCTION alert_test() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN " + does + "; RETURN NEW; END$$")
	statement("CREATE TRIGGER alert_test " + on + " EXECUTE FUNCTION alert_test()")
}
