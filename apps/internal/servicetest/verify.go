package servicetest

import (
	"strings"
	"testing"

	"platform.example/apps/internal/service"
)

// Verifies runs the service's own verification against the one that runs at
// the URL with env: it must pass, and must not pass another version for it.
func Verifies(t testing.TB, name string, commands service.Commands, env map[string]string, at string) {
	t.Helper()
	verify := func(more map[string]string) (string, error) {
		return Run(commands, Env(env, map[string]string{
			"VERIFY_URL": at, "VERIFY_ENDPOINTS": "1", "VERIFY_LATENCY": "10s", "VERIFY_LATENCY_SHARE": "0.99",
		}, more), "verify")
	}
	if said, err := verify(nil); err != nil || !strings.HasPrefix(said, "verify: 1 endpoint of "+name+" ") || strings.Count(said, "\n") != 1 {
		t.Errorf("it doesn't pass itself: %v\n%s", err, said)
	}
	said, err := verify(map[string]string{"SERVICE_VERSION": "ffffffffffff", "VERIFY_PATIENCE": "0s"})
	if runs := "verify: endpoint " + strings.TrimPrefix(at, "http://") + " runs " + name + " "; err == nil || said != "" ||
		!strings.HasPrefix(err.Error(), runs) || !strings.Contains(err.Error(), ", want ffffffffffff in ") {
		t.Errorf("another version than it is: %v\n%s", err, said)
	}
}
