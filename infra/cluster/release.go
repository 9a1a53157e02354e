package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"platform.example/infra/namespace"
	"platform.example/infra/release"
)

// Recorded is the state of every service on the cluster, by name.
func (c *Cluster) Recorded(ctx context.Context) (map[string]release.Recorded, error) {
	var services *corev1.ServiceList
	var deployments *appsv1.DeploymentList
	reading, ctx := errgroup.WithContext(ctx) // at the same time: a rollback waits for it
	reading.Go(func() (err error) {
		if services, err = c.client.CoreV1().Services(c.namespace(namespace.Apps)).List(ctx, metav1.ListOptions{}); err != nil {
			return fmt.Errorf("list the Services: %w", err)
		}
		return nil
	})
	reading.Go(func() (err error) {
		if deployments, err = c.client.AppsV1().Deployments(c.namespace(namespace.Apps)).List(ctx, metav1.ListOptions{}); err != nil {
			return fmt.Errorf("list the Deployments: %w", err)
		}
		return nil
	})
	if err := reading.Wait(); err != nil {
		return nil, err
	}
	found := map[string]release.Recorded{}
	for _, service := range services.Items {
		name := service.Spec.Selector[nameLabel]
		if name != service.Name { // a colour's own
			continue
		}
		found[name] = release.Recorded{
			Selected: release.Colour(service.Spec.Selector[release.ColourLabel]),
			Mark:     release.ReadMark(service.Annotations),
			Colours:  map[release.Colour]release.Running{},
			Revision: service.ResourceVersion,
		}
	}
	for _, deployment := range deployments.Items {
		labels := deployment.Spec.Template.Labels
		name, colour := labels[nameLabel], release.Colour(labels[release.ColourLabel])
		if deployment.Name != colour.Name(name) || len(deployment.Spec.Template.Spec.Containers) == 0 || deployment.DeletionTimestamp != nil {
			continue
		}
		if _, there := found[name]; !there {
			found[name] = release.Recorded{Colours: map[release.Colour]release.Running{}}
		}
		found[name].Colours[colour] = running(deployment)
	}
	return found, nil
}

const nameLabel = "app.kubernetes.io/name"

func running(deployment appsv1.Deployment) release.Running {
	running := release.Running{
		Version: deployment.Annotations[release.VersionAnnotation],
		Made:    deployment.Annotations[release.MadeAnnotation],
		Image:   deployment.Spec.Template.Spec.Containers[0].Image,
	}
	if deployment.Spec.Replicas != nil {
		running.Replicas = int(*deployment.Spec.Replicas)
	}
	return running
}

// Endpoints is the number of ready pods behind a Service of namespace apps.
func (c *Cluster) Endpoints(ctx context.Context, service string) (int, error) {
	slices, err := c.client.DiscoveryV1().EndpointSlices(c.namespace(namespace.Apps)).List(ctx,
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return 0, err
	}
	ready := map[string]bool{} // by pod: one may stand in several slices
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready && endpoint.TargetRef != nil {
				ready[endpoint.TargetRef.Name] = true
			}
		}
	}
	return len(ready), nil
}

// Guard is what a Service must have before it gets traffic.
type Guard struct {
	Service string // in the services' namespace
	Ready   int    // endpoints
}

// Guarded is known once all the guards are satisfied, at the same time. Whatever has it among its inputs is not touched before.
// After is what must have succeeded before anybody looks.
func (r Rollout) Guarded(ctx *pulumi.Context, guards []Guard, after pulumi.Array) pulumi.StringOutput {
	return after.ToArrayOutput().ApplyT(func([]any) (string, error) {
		if r.cluster == nil || ctx.DryRun() {
			return "", nil
		}
		return "", r.cluster.satisfied(ctx.Context(), r.deadline, guards)
	}).(pulumi.StringOutput)
}

// satisfied waits until every guard is. To be out of reach for a while is no failure.
func (c *Cluster) satisfied(ctx context.Context, patience time.Duration, guards []Guard) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var lacking error
	for {
		now := c.lacking(ctx, guards)
		if now == nil {
			return nil
		}
		if lacking == nil || ctx.Err() == nil { // a request that the deadline cuts off explains nothing
			lacking = now
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return fmt.Errorf("%w; traffic stays where it is", lacking)
		}
	}
}

func (c *Cluster) lacking(ctx context.Context, guards []Guard) error {
	for _, guard := range guards {
		ready, err := c.Endpoints(ctx, guard.Service)
		if err != nil {
			return fmt.Errorf("the endpoints of %s can't be counted: %w", guard.Service, err)
		}
		if ready < guard.Ready {
			return fmt.Errorf("%s has %d ready endpoints, want %d, as many as carry the traffic now", guard.Service, ready, guard.Ready)
		}
	}
	return nil
}

// Give has a live Service select the colour of a mark, and writes the mark beside it, in one step. It is an error where the
// Service is no longer at the revision at which it was read.
func (c *Cluster) Give(ctx context.Context, service, revision string, mark release.Mark) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": mark.Annotations(), "resourceVersion": revision},
		"spec":     map[string]any{"selector": map[string]any{release.ColourLabel: mark.Live}},
	})
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Services(c.namespace(namespace.Apps)).Patch(ctx, service, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: "platform-release"})
	if err != nil {
		return fmt.Errorf("switch service %s to %s: %w", service, mark.Live, err)
	}
	return nil
}
