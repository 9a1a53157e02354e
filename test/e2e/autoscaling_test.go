package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestAutoscalersHaveMetrics(t *testing.T) {
	type autoscalers struct {
		Items []struct {
			Spec struct {
				ScaleTargetRef struct {
					Name string `json:"name"`
				} `json:"scaleTargetRef"`
			} `json:"spec"`
			Status struct {
				CurrentMetrics []struct {
					Resource struct {
						Name    string `json:"name"`
						Current struct {
							AverageUtilization *int   `json:"averageUtilization"`
							AverageValue       string `json:"averageValue"`
						} `json:"current"`
					} `json:"resource"`
				} `json:"currentMetrics"`
			} `json:"status"`
		} `json:"items"`
	}
	// metrics-server and the autoscaler poll every 15 s, and a new pod counts after a minute or two.
	eventually(t, 4*time.Minute, "the autoscalers have metrics", func() error {
		printed, err := attempt("kubectl", "get", "horizontalpodautoscalers", "--namespace=apps", "--output=json")
		if err != nil {
			return err
		}
		found, err := parse[autoscalers](printed)
		if err != nil {
			return err
		}
		if len(found.Items) < len(serviceNames()) {
			return fmt.Errorf("there are %d autoscalers, want one for each of %v", len(found.Items), serviceNames())
		}
		for _, scaler := range found.Items {
			var known []string
			for _, metric := range scaler.Status.CurrentMetrics {
				current := metric.Resource.Current
				// A process always uses some memory, while the CPU time of an idle one may round to zero.
				measured := current.AverageUtilization != nil && current.AverageValue != ""
				if measured && (metric.Resource.Name != "memory" || current.AverageValue != "0") {
					known = append(known, metric.Resource.Name)
				}
			}
			slices.Sort(known)
			if !slices.Equal(known, []string{"cpu", "memory"}) {
				return fmt.Errorf("the autoscaler of %s has %v, want cpu and memory", scaler.Spec.ScaleTargetRef.Name, known)
			}
		}
		return nil
	})
}

func TestAutoscalerScalesUpAndDown(t *testing.T) {
	name := live(t, "api-gateway")
	// The stack's autoscalers wait for five minutes before they scale down; this test shortens that.
	patient := output(t, "kubectl", "get", "hpa", name, "--namespace=apps", "--output=jsonpath={.spec.behavior.scaleDown}")
	shrink := func(behaviour string) {
		output(t, "kubectl", "patch", "hpa", name, "--namespace=apps", "--type=merge", `--patch={"spec":{"behavior":{"scaleDown":`+behaviour+`}}}`)
	}
	shrink(`{"stabilizationWindowSeconds":15,"policies":[{"type":"Percent","value":100,"periodSeconds":15}]}`)
	t.Cleanup(func() { shrink(patient) })
	replicas := func() (int, error) {
		printed, err := attempt("kubectl", "get", "deployment", name, "--namespace=apps", "--output=jsonpath={.status.readyReplicas}")
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(printed)
	}
	bound := output(t, "kubectl", "get", "hpa", name, "--namespace=apps", "--output=jsonpath={.spec.maxReplicas}")
	// Earlier load, such as the platform's start, may have scaled it up.
	var before int
	eventually(t, 6*time.Minute, "the autoscaler is below its maximum", func() (err error) {
		if before, err = replicas(); err == nil && strconv.Itoa(before) == bound {
			err = fmt.Errorf("%d replicas are ready, which is the maximum", before)
		}
		return err
	})

	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
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
				if _, err := api.call(http.MethodGet, "/api/users/me", token, nil); err != nil {
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	grown := within(3*time.Minute, func() error {
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
	eventually(t, 4*time.Minute, "it scales down again", func() error {
		now, err := replicas()
		if err == nil && now != before {
			err = fmt.Errorf("%d replicas are ready, %d before the load", now, before)
		}
		return err
	})
}
