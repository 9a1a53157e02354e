package servicetest

import (
	"strings"
	"testing"

	"platform.example/apps/internal/service"
)

// Verifies runs the service's subcommand verify against the service at the URL at, started with env. It must
// pass, and must fail for another version.
func Verifies(t testing.TB, name string, commands service.Commands, env map[string]string, at string) {
	t.Helper()
	verify := func(more map[string]string) (string, error) {
		return Run(commands, Env(env, map[string]string{
			"VERIFY_URL": at, "VERIFY_ENDPOINTS": "1", "VERIFY_LATENCY": "10s", "VERIFY_LATENCY_SHARE": "0.99",
		}, more), "verify")
	}
	if output, err := verify(nil); err != nil || !strings.HasPrefix(output, "verify: 1 endpoint of "+name+" ") || strings.Count(output, "\n") != 1 {
		t.Errorf("the verification fails: %v\n%s", err, output)
	}
	output, err := verify(map[string]string{"SERVICE_VERSION": "ffffffffffff", "VERIFY_PATIENCE": "0s"})
	if runs := "verify: endpoint " + strings.TrimPrefix(at, "http://") + " runs " + name + " "; err == nil || output != "" ||
		!strings.HasPrefix(err.Error(), runs) || !strings.Contains(err.Error(), ", want ffffffffffff in ") {
		t.Errorf("the verification of another version: %v\n%s", err, output)
	}
}
