package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"platform.example/test/kit"
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
	kit.Eventually(t, 4*time.Minute, "the autoscalers have metrics", func() error {
		printed, err := kit.Run("kubectl", "get", "horizontalpodautoscalers", "--namespace=apps", "--output=json")
		if err != nil {
			return err
		}
		found, err := kit.ParseJSON[autoscalers](printed)
		if err != nil {
			return err
		}
		if len(found.Items) < len(kit.ServiceNames()) {
			return fmt.Errorf("there are %d autoscalers, want one for each of %v", len(found.Items), kit.ServiceNames())
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
