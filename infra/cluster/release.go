package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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

// satisfied waits until all guards are satisfied at the same time.
func (c *Cluster) satisfied(ctx context.Context, patience time.Duration, guards []Guard) error {
	err := Retry(ctx, lookAgain, patience, func(ctx context.Context) error {
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
	})
	if err != nil {
		return fmt.Errorf("%w; no traffic was moved", err)
	}
	return nil
}

// Switch changes the selector of a live Service to the mark's colour and writes the mark, in one request. It fails if the Service has
// changed since recorded.
func (c *Cluster) Switch(ctx context.Context, service string, recorded release.Recorded, mark release.Mark) error {
	change := release.SelectorPatch(service, mark.Live, recorded.Selector)
	change["metadata"] = map[string]any{"annotations": mark.Annotations(), "resourceVersion": recorded.Revision}
	patch, _ := json.Marshal(change) // plain values always encode
	_, err := c.client.CoreV1().Services(c.namespace(namespace.Apps)).Patch(ctx, service, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("switch service %s to %s: %w", service, mark.Live, err)
	}
	return nil
}
