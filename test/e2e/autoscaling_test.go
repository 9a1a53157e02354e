package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestAutoscalersSeeRealMetrics(t *testing.T) {
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
	// metrics-server looks once in 15 s, the autoscaler too, and a new pod counts after a minute or two.
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
				// No process uses no memory at all, while an idle one's processor time may round to nothing.
				measured := current.AverageUtilization != nil && current.AverageValue != ""
				if measured && (metric.Resource.Name != "memory" || current.AverageValue != "0") {
					known = append(known, metric.Resource.Name)
				}
			}
			slices.Sort(known)
			if !slices.Equal(known, []string{"cpu", "memory"}) {
				return fmt.Errorf("the one of %s knows %v, want cpu and memory", scaler.Spec.ScaleTargetRef.Name, known)
			}
		}
		return nil
	})
}
