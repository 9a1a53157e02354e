package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"platform.example/infra/namespace"
	"platform.example/infra/release"
)

// fieldManager is the field manager of changes without Pulumi.
const fieldManager = "platform-release"

// Restore patches the objects to the state that the last release recorded. It skips differences without a patch.
func (c *Cluster) Restore(ctx context.Context, differences []release.Difference) error {
	for _, difference := range differences {
		if difference.Patch == nil {
			continue
		}
		patch, _ := json.Marshal(difference.Patch) // plain values always encode
		path := release.Path(difference.Kind, c.namespace(namespace.Apps), difference.Name)
		err := c.client.CoreV1().RESTClient().Patch(types.StrategicMergePatchType).AbsPath(path).
			Param("fieldManager", fieldManager).Body(patch).Do(ctx).Error()
		if err != nil {
			return fmt.Errorf("%s: can't be restored: %w", difference, err)
		}
	}
	return nil
}

// KeepRestarts lets an update keep the annotations of `kubectl rollout restart`. The Kubernetes provider takes over the fields of field
// managers with names such as kubectl-rollout. It then removes fields that the program doesn't set, and the pods would restart again.
// KeepRestarts therefore renames the field manager of these annotations.
func (c *Cluster) KeepRestarts(ctx context.Context) error {
	for _, name := range namespace.All() {
		for _, kind := range []string{"deployments", "statefulsets", "daemonsets"} {
			if err := c.keepRestarts(ctx, fmt.Sprintf("/apis/apps/v1/namespaces/%s/%s", c.namespace(name), kind)); err != nil {
				return fmt.Errorf("keep the restarts of %s in namespace %s: %w: run the update again", kind, c.namespace(name), err)
			}
		}
	}
	return nil
}

func (c *Cluster) keepRestarts(ctx context.Context, path string) error {
	raw, err := c.client.AppsV1().RESTClient().Get().AbsPath(path).Do(ctx).Raw()
	if err != nil {
		return err
	}
	var found metav1.PartialObjectMetadataList
	if err := json.Unmarshal(raw, &found); err != nil {
		return err
	}
	for _, object := range found.Items {
		i := slices.IndexFunc(object.ManagedFields, restarts)
		if i < 0 {
			continue
		}
		patch := fmt.Appendf(nil, `[{"op":"test","path":"/metadata/managedFields/%[1]d/manager","value":%[2]q},`+
			`{"op":"replace","path":"/metadata/managedFields/%[1]d/manager","value":"platform-restart"}]`, i, restarter)
		if err := c.client.AppsV1().RESTClient().Patch(types.JSONPatchType).AbsPath(path, object.Name).Body(patch).Do(ctx).Error(); err != nil {
			return err
		}
	}
	return nil
}

// restarter is the field manager of `kubectl rollout`.
const restarter = "kubectl-rollout"

// restarts reports whether the fields are those of a restart. An update still ends a pause, which has the same manager.
func restarts(entry metav1.ManagedFieldsEntry) bool {
	if entry.Manager != restarter || entry.FieldsV1 == nil {
		return false
	}
	fields := string(entry.FieldsV1.Raw)
	return strings.Contains(fields, `"f:kubectl.kubernetes.io/restartedAt"`) && !strings.Contains(fields, `"f:paused"`)
}

// Recorded is the actual state of all services after an update, or nil in a preview or without a cluster. It retries until the
// deadline.
func (r Rollout) Recorded(ctx *pulumi.Context) (recorded map[string]release.Recorded, err error) {
	if r.cluster == nil || ctx.DryRun() {
		return nil, nil
	}
	err = Retry(ctx.Context(), lookAgain, r.deadline, func(ctx context.Context) (err error) {
		recorded, err = r.cluster.Recorded(ctx)
		return err
	})
	return recorded, err
}

// changes returns the last change of each field of an object, except for the status.
func changes(entries []metav1.ManagedFieldsEntry) release.Changes {
	found := release.Changes{}
	for _, entry := range entries {
		if entry.FieldsV1 == nil || entry.Subresource == "status" || entry.Time == nil {
			continue
		}
		by := entry.Manager
		if entry.Subresource != "" {
			by += " " + entry.Subresource
		}
		var fields fieldpath.Set
		if fields.FromJSON(bytes.NewReader(entry.FieldsV1.Raw)) != nil {
			continue
		}
		for field := range fields.All() { // only the innermost ones
			for depth := range field {
				path := strings.TrimPrefix(elementByName.Replace(field[:depth+1].String()), ".")
				if !found[path].At.After(entry.Time.Time) {
					found[path] = release.Change{By: by, At: entry.Time.Time}
				}
			}
		}
	}
	return found
}

// elementByName shortens the path of a list element from containers[name="shop"] to containers[shop].
var elementByName = strings.NewReplacer(`[name="`, "[", `"]`, "]")

func autoscaler(found autoscalingv2.HorizontalPodAutoscaler) *release.Autoscaler {
	return &release.Autoscaler{
		Target:   found.Spec.ScaleTargetRef.Name,
		Bounds:   release.Bounds{Min: int(ptr.Deref(found.Spec.MinReplicas, 1)), Max: int(found.Spec.MaxReplicas)},
		Recorded: release.ReadBounds(found.Annotations[release.ReplicasAnnotation]),
		Changes:  changes(found.ManagedFields),
	}
}

// readyEndpoints returns the names of the ready pods by Service. A pod may be in several slices.
func readyEndpoints(found []discoveryv1.EndpointSlice) map[string][]string {
	ready := map[string][]string{}
	for _, slice := range found {
		service := slice.Labels[discoveryv1.LabelServiceName]
		for _, endpoint := range slice.Endpoints {
			target := ptr.Deref(endpoint.TargetRef, corev1.ObjectReference{})
			if ptr.Deref(endpoint.Conditions.Ready, false) && target.Name != "" && !slices.Contains(ready[service], target.Name) {
				ready[service] = append(ready[service], target.Name)
			}
		}
	}
	return ready
}
