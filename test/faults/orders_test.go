package faults

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"platform.example/test/kit"
)

// Pods die at any time, including the stream's: each acknowledged order is kept, and gets one notification.
func TestOrdersSurviveDyingPods(t *testing.T) {
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	victims := []struct{ namespace, selector string }{
		{"apps", "app.kubernetes.io/name=order-service"},
		{"apps", "app.kubernetes.io/name=notification-service"},
		{"data", "app.kubernetes.io/name=redis-stream"},
		{"apps", "app.kubernetes.io/name=notification-service"},
	}
	const each = 10
	var orders []kit.Order
	for _, victim := range victims {
		for i := range each {
			placed, err := api.Order(token, rand.Text())
			if err != nil {
				t.Fatal(err)
			}
			orders = append(orders, placed)
			if i == each/2 {
				kit.Output(t, "kubectl", "delete", "pod", "--namespace="+victim.namespace, "--selector="+victim.selector, "--grace-period=0", "--force", "--wait=false")
			}
		}
	}
	api.AwaitNotifications(t, token, "order.created", orders...)

	// Wait until all pods are ready, so that the next test finds a healthy platform.
	kit.Eventually(t, 2*time.Minute, "all pods are ready", func() error {
		for _, victim := range victims {
			printed, err := kit.Run("kubectl", "wait", "pod", "--namespace="+victim.namespace, "--selector="+victim.selector, "--for=condition=Ready", "--timeout=10s")
			if err != nil {
				return errors.New(printed)
			}
		}
		return nil
	})
}
