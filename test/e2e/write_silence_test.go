package e2e

import (
	"errors"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// The alert that always fires is silenced, and fires again once its silence has ended.
func TestSilencedAlertIsSuppressed(t *testing.T) {
	suppressed := func(want bool) func() error {
		return func() error {
			firing, err := kit.Alerts(`alertname="Watchdog"`)
			if err == nil && (len(firing) > 0) == want {
				err = errors.New("Watchdog fires, unless it is silenced")
			}
			return err
		}
	}
	kit.Eventually(t, 2*time.Minute, "Watchdog fires", suppressed(false))
	lines := strings.Fields(kit.Output(t, "make", "-s", "silence", "ALERT=Watchdog", "JOB=prometheus", "FOR=10m", "COMMENT=it's a test"))
	if len(lines) == 0 {
		t.Fatal("make silence prints no id")
	}
	id := lines[len(lines)-1]
	t.Cleanup(func() {
		if _, err := kit.Run("make", "-s", "silence", "EXPIRE="+id); err != nil && !t.Failed() {
			t.Log(err) // it has ended
		}
	})
	type silence struct {
		Comment, CreatedBy string
		StartsAt, EndsAt   time.Time
		Status             struct{ State string }
		Matchers           []struct{ Name, Value string }
	}
	found := kit.OutputJSON[silence](t, "kubectl", "get", "--raw", kit.Alertmanager+"/silence/"+id)
	if found.Status.State != "active" || found.Comment != "it's a test" || found.CreatedBy == "" || len(found.Matchers) != 2 ||
		found.EndsAt.Sub(found.StartsAt).Round(time.Minute) != 10*time.Minute {
		t.Errorf("the silence is %+v", found)
	}
	kit.Eventually(t, time.Minute, "Watchdog is suppressed", suppressed(true))
	kit.Output(t, "make", "-s", "silence", "EXPIRE="+id)
	kit.Eventually(t, time.Minute, "Watchdog fires again", suppressed(false))
}

func TestSilenceNeedsAnAlertAndATime(t *testing.T) {
	for _, missing := range []string{"ALERT=Watchdog", "FOR=2h"} {
		if printed, err := kit.Run("make", "-s", "silence", missing); err == nil || !strings.Contains(err.Error(), "make silence ALERT=<name> FOR=<time>") {
			t.Errorf("with only %s: %v\n%s", missing, err, printed)
		}
	}
}
