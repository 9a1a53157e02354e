package e2e

import (
	"testing"
)

// live returns the name of a service's live Deployment, such as user-service-green.
func live(t *testing.T, service string) string {
	t.Helper()
	return service + "-" + output(t, "kubectl", "get", "service", service, "--namespace=apps", "--output=jsonpath={.spec.selector.colour}")
}
