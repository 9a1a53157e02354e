package kit

import (
	"fmt"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"
)

// ServiceNames returns the names of the catalog's services.
func ServiceNames() []string {
	return []string{"api-gateway", "user-service", "order-service", "notification-service"}
}

// Scale sets the number of replicas of a workload, such as deployment/coredns.
func Scale(t *testing.T, namespace, workload string, replicas int) {
	t.Helper()
	Output(t, "kubectl", "scale", "--namespace="+namespace, workload, fmt.Sprintf("--replicas=%d", replicas))
}

// LiveDeployment returns the name of a service's live Deployment, such as user-service-green.
func LiveDeployment(t *testing.T, service string) string {
	t.Helper()
	return service + "-" + Output(t, "kubectl", "get", "service", service, "--namespace=apps", "--output=jsonpath={.spec.selector.colour}")
}

// NodeAddresses returns the node's addresses on the pods' network. The control plane listens on the first.
func NodeAddresses(t *testing.T) (addresses []netip.Addr) {
	t.Helper()
	for address := range strings.FieldsSeq(Output(t, "kubectl", "get", "nodes",
		`--output=jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)) {
		addresses = append(addresses, netip.MustParseAddr(address))
	}
	return addresses
}

// Pod is the part of a pod that the tests read.
type Pod struct {
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

// Pods returns the running pods of a service, without those that are terminating. It returns an error if there is none.
func Pods(service string) ([]Pod, error) { return selected("apps", "app.kubernetes.io/name="+service) }

// Primary returns the pod of Postgres that accepts writes.
func Primary() (Pod, error) {
	pods, err := selected("data", "platform.example/of=postgres,cnpg.io/instanceRole=primary")
	if err != nil {
		return Pod{}, err
	}
	if len(pods) != 1 {
		return Pod{}, fmt.Errorf("%d pods are primaries", len(pods))
	}
	return pods[0], nil
}

func selected(namespace, selector string) ([]Pod, error) {
	printed, err := Run("kubectl", "get", "pods", "--namespace="+namespace, "--selector="+selector, "--field-selector=status.phase=Running", "--output=json")
	if err != nil {
		return nil, err
	}
	list, err := ParseJSON[struct {
		Items []Pod `json:"items"`
	}](printed)
	if err != nil {
		return nil, err
	}
	staying := slices.DeleteFunc(list.Items, func(p Pod) bool { return p.Metadata.Deletion != "" })
	if len(staying) == 0 {
		return nil, fmt.Errorf("no pod with %s runs", selector)
	}
	return staying, nil
}

// StartPod creates a pod from a manifest, in place of the pod that a killed test has left, and deletes it after the test.
func StartPod(t *testing.T, namespace, name, manifest string) {
	t.Helper()
	remove := func() error {
		_, err := Run("kubectl", "delete", "pod", name, "--namespace="+namespace, "--ignore-not-found", "--grace-period=0", "--force")
		return err
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	if _, err := Feed(manifest, "kubectl", "apply", "--filename=-"); err != nil {
		t.Fatal(err)
	}
}

// Ready returns an error unless all pods of the service are ready.
func Ready(service string) error {
	pods, err := Pods(service)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if !pod.Ready() {
			return fmt.Errorf("pod %s is not ready", pod.Metadata.Name)
		}
	}
	return nil
}

// Ready reports whether the pod has the condition Ready.
func (p Pod) Ready() bool {
	for _, condition := range p.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True"
		}
	}
	return false
}

// ShellImage returns the image of Redis, which has a shell, by its digest in the registry of the services. Namespace apps admits no
// images of other registries.
func ShellImage(t *testing.T) string {
	t.Helper()
	live := Output(t, "kubectl", "get", "deployments", "--namespace=apps", "--output=jsonpath={.items[0].spec.template.spec.containers[0].image}")
	registry := path.Dir(live)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+registry+"/v2/library/redis/manifests/7-bookworm", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	digest := response.Header.Get("Docker-Content-Digest")
	if response.StatusCode != http.StatusOK || digest == "" {
		t.Fatalf("%s has no image of Redis: %s", registry, response.Status)
	}
	return registry + "/library/redis@" + digest
}
