package workload

import (
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/kube"
	"platform.example/infra/release"
)

// newDeployment runs the replicas of this colour and scales them. What it returns is known once its rollout is complete.
func (c colour) newDeployment(
	ctx *pulumi.Context, environment corev1.EnvFromSourceArray, parent, after pulumi.ResourceOption,
) (completed pulumi.StringOutput, err error) {
	pod := c.pod(c.server(environment))
	pod.TopologySpreadConstraints = kube.Spread(c.selector())
	metadata := c.metadata(c.name(), c.selector(), pulumi.ToStringMap(c.madeAnnotations()))
	spec := kube.Deployment(c.Rollout, c.selector(), kube.Template(c.Service.Name, c.selector(), catalog.OpsPort, pod))
	replicas := pulumi.IgnoreChanges([]string{"spec.replicas"})
	if c.candidate() { // is as large as it must be: the autoscaler looks only every 15 s, and not at what was retired
		spec.Replicas, replicas = pulumi.Int(c.bounds().Min), pulumi.IgnoreChanges(nil)
	}
	deployment, err := appsv1.NewDeployment(ctx, c.name(), &appsv1.DeploymentArgs{Metadata: metadata, Spec: spec},
		append(c.Rollout.Options(), parent, after, c.keeps(kept...), replicas)...)
	if err != nil {
		return completed, err
	}
	scaled := []pulumi.ResourceOption{parent}
	if c.Colour != c.Plan.Live && !c.Plan.Moves() { // stands by as large as it was when the traffic left it
		scaled = append(scaled, pulumi.IgnoreChanges([]string{"spec", annotation(release.ReplicasAnnotation)}))
	}
	var made map[string]string
	if c.candidate() {
		made = c.madeAnnotations()
	}
	bounds := c.bounds()
	scaler := c.metadata(c.name(), c.selector(), pulumi.StringMap{
		release.ReplicasAnnotation: pulumi.String(release.Bounds{Min: bounds.Min, Max: bounds.Max}.With(c.Plan.Made)),
	})
	completed = c.Rollout.Completed(ctx, deployment, made)
	return completed, kube.Scale(ctx, c.name(), scaler, c.selector(), c.Config, bounds, scaled...)
}

// annotation is the path of an annotation in the options of a resource.
func annotation(name string) string { return `metadata.annotations["` + name + `"]` }

// kept is what a Deployment keeps that isn't the plan's target: all of its container but the Secret that it reads.
var kept = []string{
	annotation(release.VersionAnnotation),
	annotation(release.MadeAnnotation),
	"spec.template.spec.containers[0].image",
	"spec.template.spec.containers[0].env",
	"spec.template.spec.containers[0].resources",
	"spec.template.spec.containers[0].startupProbe",
	"spec.template.spec.containers[0].readinessProbe",
	"spec.template.spec.containers[0].livenessProbe",
}
