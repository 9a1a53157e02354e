package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"platform.example/infra/namespace"
	"platform.example/infra/release"
)

// Recorded returns the actual state of all services by name.
func (c *Cluster) Recorded(ctx context.Context) (map[string]release.Recorded, error) {
	in := c.namespace(namespace.Apps)
	var services *corev1.ServiceList
	var deployments *appsv1.DeploymentList
	var autoscalers *autoscalingv2.HorizontalPodAutoscalerList
	var endpoints *discoveryv1.EndpointSliceList
	reading, ctx := errgroup.WithContext(ctx) // concurrent, since a rollback waits
	reading.Go(list(ctx, "Services", &services, c.client.CoreV1().Services(in).List))
	reading.Go(list(ctx, "Deployments", &deployments, c.client.AppsV1().Deployments(in).List))
	reading.Go(list(ctx, "HorizontalPodAutoscalers", &autoscalers, c.client.AutoscalingV2().HorizontalPodAutoscalers(in).List))
	reading.Go(list(ctx, "EndpointSlices", &endpoints, c.client.DiscoveryV1().EndpointSlices(in).List))
	if err := reading.Wait(); err != nil {
		return nil, err
	}
	found, ready, scalers := map[string]release.Recorded{}, readyEndpoints(endpoints.Items), map[string]*release.Autoscaler{}
	for _, service := range services.Items {
		name, mark := service.Name, release.ReadMark(service.Annotations)
		if mark.Live == "" && service.Spec.Selector[nameLabel] != name { // of a colour, or of another owner
			continue
		}
		found[name] = release.Recorded{
			Selected: release.Colour(service.Spec.Selector[release.ColourLabel]),
			Mark:     mark,
			Colours:  map[release.Colour]release.Running{},
			Revision: service.ResourceVersion,
			Selector: service.Spec.Selector,
			Ready:    len(ready[name]),
			Changes:  changes(service.ManagedFields),
			Address:  service.Spec.ClusterIP,
		}
	}
	for _, found := range autoscalers.Items {
		scalers[found.Name] = autoscaler(found)
	}
	for _, deployment := range deployments.Items {
		labels := deployment.Spec.Template.Labels
		name, colour := labels[nameLabel], release.Colour(labels[release.ColourLabel])
		if deployment.Name != colour.Name(name) || len(deployment.Spec.Template.Spec.Containers) == 0 || deployment.DeletionTimestamp != nil {
			continue
		}
		if _, exists := found[name]; !exists {
			found[name] = release.Recorded{Colours: map[release.Colour]release.Running{}}
		}
		found[name].Colours[colour] = release.Running{
			Version:    deployment.Annotations[release.VersionAnnotation],
			Made:       deployment.Annotations[release.MadeAnnotation],
			Schema:     deployment.Annotations[release.SchemaAnnotation],
			Image:      deployment.Spec.Template.Spec.Containers[0].Image,
			Paused:     deployment.Spec.Paused,
			Changes:    changes(deployment.ManagedFields),
			Replicas:   int(ptr.Deref(deployment.Spec.Replicas, 0)),
			Autoscaler: scalers[deployment.Name],
		}
	}
	return found, nil
}

// list returns a function that reads all objects of a kind.
func list[T any](ctx context.Context, kind string, objects *T, read func(context.Context, metav1.ListOptions) (T, error)) func() error {
	return func() (err error) {
		if *objects, err = read(ctx, metav1.ListOptions{}); err != nil {
			return fmt.Errorf("list the %s: %w", kind, err)
		}
		return nil
	}
}

const nameLabel = "app.kubernetes.io/name"

// Endpoints is the number of ready pods of a Service in namespace apps.
func (c *Cluster) Endpoints(ctx context.Context, service string) (int, error) {
	found, err := c.client.DiscoveryV1().EndpointSlices(c.namespace(namespace.Apps)).List(ctx,
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return 0, err
	}
	return len(readyEndpoints(found.Items)[service]), nil
}

// Guard is a condition for moving traffic to a Service.
type Guard struct {
	Service string // in namespace apps
	Ready   int    // minimum number of ready endpoints
}

// Guarded resolves to the names of the Services that may get traffic, once all guards are satisfied at the same time. After has, for
// each guard, the names of the steps that must succeed first. A name is empty if the update excludes the step (--target). Such a
// Service keeps its traffic and isn't in the result.
func (r Rollout) Guarded(ctx *pulumi.Context, guards []Guard, after pulumi.Array) pulumi.StringArrayOutput {
	return after.ToArrayOutput().ApplyT(func(steps []any) ([]string, error) {
		var open []Guard
		var names []string
		for i, guard := range guards {
			if slices.Contains(steps[i].([]any), any("")) {
				_ = ctx.Log.Warn(guard.Service+" gets no traffic: --target excludes its release", nil) // fails only without an engine
				continue
			}
			open, names = append(open, guard), append(names, guard.Service)
		}
		if r.cluster == nil || ctx.DryRun() {
			return names, nil
		}
		return names, r.cluster.satisfied(ctx.Context(), r.deadline, open)
	}).(pulumi.StringArrayOutput)
}

// satisfied waits until all guards are satisfied. It ignores errors until the timeout.
func (c *Cluster) satisfied(ctx context.Context, patience time.Duration, guards []Guard) error {
	var lacking error
	err := wait.PollUntilContextTimeout(ctx, lookAgain, patience, true, func(ctx context.Context) (bool, error) {
		now := c.lacking(ctx, guards)
		if now == nil || lacking == nil || ctx.Err() == nil { // not the error of a request that the timeout cancels
			lacking = now
		}
		return now == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w; no traffic was moved", lacking)
	}
	return nil
}

func (c *Cluster) lacking(ctx context.Context, guards []Guard) error {
	for _, guard := range guards {
		ready, err := c.Endpoints(ctx, guard.Service)
		if err != nil {
			return fmt.Errorf("count the endpoints of %s: %w", guard.Service, err)
		}
		if ready < guard.Ready {
			return fmt.Errorf("%s has %d ready endpoints, want %d as in the live colour", guard.Service, ready, guard.Ready)
		}
	}
	return nil
}

// Switch changes the selector of a live Service to the mark's colour and writes the mark, in one request. It fails if the Service has
// changed since recorded.
func (c *Cluster) Switch(ctx context.Context, service string, recorded release.Recorded, mark release.Mark) error {
	change := release.SelectorPatch(service, mark.Live, recorded.Selector)
	change["metadata"] = map[string]any{"annotations": mark.Annotations(), "resourceVersion": recorded.Revision}
	patch, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Services(c.namespace(namespace.Apps)).Patch(ctx, service, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("switch service %s to %s: %w", service, mark.Live, err)
	}
	return nil
}

// fieldManager is the field manager of changes without Pulumi.
const fieldManager = "platform-release"

// Restore patches the objects as the last release recorded them. It skips differences without a patch.
func (c *Cluster) Restore(ctx context.Context, differences []release.Difference) error {
	for _, difference := range differences {
		if difference.Patch == nil {
			continue
		}
		patch, err := json.Marshal(difference.Patch)
		if err == nil {
			path := release.Path(difference.Kind, c.namespace(namespace.Apps), difference.Name)
			err = c.client.CoreV1().RESTClient().Patch(types.StrategicMergePatchType).AbsPath(path).
				Param("fieldManager", fieldManager).Body(patch).Do(ctx).Error()
		}
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
	var unread error
	err = wait.PollUntilContextTimeout(ctx.Context(), lookAgain, r.deadline, true, func(ctx context.Context) (bool, error) {
		recorded, unread = r.cluster.Recorded(ctx)
		return unread == nil, nil
	})
	return recorded, errors.Join(err, unread)
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
		eachField(entry.FieldsV1.Raw, "", func(path string) {
			if !found[path].At.After(entry.Time.Time) {
				found[path] = release.Change{By: by, At: entry.Time.Time}
			}
		})
	}
	return found
}

// eachField visits all paths of a set of fields: spec.replicas, spec.template.spec.containers[shop].image.
func eachField(raw json.RawMessage, path string, visit func(path string)) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return
	}
	for key, below := range fields {
		var at string
		switch kind, rest, _ := strings.Cut(key, ":"); kind {
		case "f":
			at = strings.TrimPrefix(path+"."+rest, ".")
		case "k": // a list element, by its keys
			var keys map[string]any
			_ = json.Unmarshal([]byte(rest), &keys)
			at = fmt.Sprintf("%s[%v]", path, keys["name"])
		default: // the element itself, or a value of a set
			continue
		}
		visit(at)
		eachField(below, at, visit)
	}
}

func autoscaler(found autoscalingv2.HorizontalPodAutoscaler) *release.Autoscaler {
	return &release.Autoscaler{
		Target:   found.Spec.ScaleTargetRef.Name,
		Bounds:   release.Bounds{Min: int(ptr.Deref(found.Spec.MinReplicas, 1)), Max: int(found.Spec.MaxReplicas)},
		Recorded: release.ReadBounds(found.Annotations[release.ReplicasAnnotation]),
		Changes:  changes(found.ManagedFields),
	}
}

// readyEndpoints returns the names of the ready pods by Service.
func readyEndpoints(found []discoveryv1.EndpointSlice) map[string]map[string]bool {
	ready := map[string]map[string]bool{} // sets, since a pod may be in several slices
	for _, slice := range found {
		service := slice.Labels[discoveryv1.LabelServiceName]
		for _, endpoint := range slice.Endpoints {
			if ptr.Deref(endpoint.Conditions.Ready, false) && endpoint.TargetRef != nil {
				if ready[service] == nil {
					ready[service] = map[string]bool{}
				}
				ready[service][endpoint.TargetRef.Name] = true
			}
		}
	}
	return ready
}
