package e2e

import (
	"fmt"
	"slices"
)

// pod is the part of a pod that the tests read.
type pod struct {
	Metadata struct {
		Name     string `json:"name"`
		UID      string `json:"uid"`
		Deletion string `json:"deletionTimestamp"` // empty unless the pod is terminating
	} `json:"metadata"`
	Spec struct {
		Containers []struct {
			Image string `json:"image"`
		} `json:"containers"`
	} `json:"spec"`
	Status struct {
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
		ContainerStatuses []struct {
			ImageID string `json:"imageID"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

// replicas returns the pods of a service that aren't terminating.
func replicas(service string) ([]pod, error) {
	printed, err := attempt("kubectl", "get", "pods", "--namespace=apps", "--selector=app.kubernetes.io/name="+service,
		"--field-selector=status.phase=Running", "--output=json")
	if err != nil {
		return nil, err
	}
	list, err := parse[struct {
		Items []pod `json:"items"`
	}](printed)
	if err != nil {
		return nil, err
	}
	staying := slices.DeleteFunc(list.Items, func(p pod) bool { return p.Metadata.Deletion != "" })
	if len(staying) == 0 {
		return nil, fmt.Errorf("no pod of %s runs", service)
	}
	return staying, nil
}

// ready returns an error unless all replicas of the service are ready.
func ready(service string) error {
	pods, err := replicas(service)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if !pod.ready() {
			return fmt.Errorf("pod %s is not ready", pod.Metadata.Name)
		}
	}
	return nil
}

func (p pod) ready() bool {
	for _, condition := range p.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True"
		}
	}
	return false
}
