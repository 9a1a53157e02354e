package e2e

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

// An open connection outlives a new policy, and the services keep theirs for half a minute.
const policyLimit = 2 * time.Minute

func TestANetworkPolicyIsEnforced(t *testing.T) {
	const policy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: e2e-deny-user-service, namespace: apps}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/name: user-service}}
  policyTypes: [Ingress]
`
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	me := func(statuses ...int) error {
		_, err := api.expect(http.MethodGet, "/api/users/me", token, nil, statuses...)
		return err
	}
	allow := func() error {
		_, err := attempt("kubectl", "delete", "networkpolicy", "e2e-deny-user-service", "--namespace=apps", "--ignore-not-found")
		return err
	}
	if err := errors.Join(me(http.StatusOK), ready("user-service")); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { // before the user goes, which needs the way to be open
		if err := errors.Join(allow(), within(policyLimit, func() error { return me(http.StatusOK) })); err != nil {
			t.Errorf("lift the policy: %v", err)
		}
	})
	if _, err := feed(policy, "kubectl", "apply", "--filename=-"); err != nil {
		t.Fatal(err)
	}
	eventually(t, policyLimit, "the gateway is cut off", func() error {
		return me(http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)
	})
	if err := throughout(func() error { return ready("user-service") }); err != nil {
		t.Fatalf("the kubelet, which the policy doesn't mean, is cut off too: %v", err)
	}

	if err := allow(); err != nil {
		t.Fatal(err)
	}
	eventually(t, policyLimit, "the gateway reaches the service again", func() error { return me(http.StatusOK) })
}
