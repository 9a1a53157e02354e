package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestAutoscalerScalesUpAndDown(t *testing.T) {
	name := kit.LiveDeployment(t, "api-gateway")
	// The stack's autoscalers wait for five minutes before they scale down; this test shortens that.
	patient := kit.Output(t, "kubectl", "get", "hpa", name, "--namespace=apps", "--output=jsonpath={.spec.behavior.scaleDown}")
	shrink := func(behaviour string) {
		kit.Output(t, "kubectl", "patch", "hpa", name, "--namespace=apps", "--type=merge", `--patch={"spec":{"behavior":{"scaleDown":`+behaviour+`}}}`)
	}
	shrink(`{"stabilizationWindowSeconds":15,"policies":[{"type":"Percent","value":100,"periodSeconds":15}]}`)
	t.Cleanup(func() { shrink(patient) })
	replicas := func() (int, error) {
		printed, err := kit.Run("kubectl", "get", "deployment", name, "--namespace=apps", "--output=jsonpath={.status.readyReplicas}")
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(printed)
	}
	bound := kit.Output(t, "kubectl", "get", "hpa", name, "--namespace=apps", "--output=jsonpath={.spec.maxReplicas}")
	// Earlier load, such as the platform's start, may have scaled it up.
	var before int
	kit.Eventually(t, 6*time.Minute, "the autoscaler is below its maximum", func() (err error) {
		if before, err = replicas(); err == nil && strconv.Itoa(before) == bound {
			err = fmt.Errorf("%d replicas are ready, which is the maximum", before)
		}
		return err
	})

	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	stop := make(chan struct{})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			const most = 50_000 // maximum number of requests
			for range most {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := api.Call(http.MethodGet, "/api/users/me", token, nil); err != nil {
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	grown := kit.Within(3*time.Minute, func() error {
		now, err := replicas()
		if err == nil && now <= before {
			err = fmt.Errorf("%d replicas are ready, as before", now)
		}
		return err
	})
	close(stop)
	users.Wait()
	if grown != nil {
		t.Fatal(grown)
	}
	kit.Eventually(t, 4*time.Minute, "it scales down again", func() error {
		now, err := replicas()
		if err == nil && now != before {
			err = fmt.Errorf("%d replicas are ready, %d before the load", now, before)
		}
		return err
	})
}
