package workload

import (
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/kube"
	"platform.example/infra/release"
)

// newDeployment creates the Deployment of this colour and its autoscaler. Completed resolves once the rollout is complete.
func (c colour) newDeployment(
	ctx *pulumi.Context, environment corev1.EnvFromSourceArray, parent, after pulumi.ResourceOption,
) (completed pulumi.StringOutput, err error) {
	pod := c.pod(c.server(environment))
	pod.TopologySpreadConstraints = kube.Spread(c.selector())
	metadata := c.metadata(c.name(), c.selector(), pulumi.ToStringMap(c.madeAnnotations()))
	spec := kube.Deployment(c.Rollout, c.selector(), kube.Template(c.Service.Name, c.selector(), catalog.OpsPort, pod))
	replicas := pulumi.IgnoreChanges([]string{"spec.replicas"})
	if c.candidate() { // the autoscaler would take up to 15 s, and ignores a retired Deployment with 0 replicas
		spec.Replicas, replicas = pulumi.Int(c.bounds().Min), pulumi.IgnoreChanges(nil)
	}
	deployment, err := appsv1.NewDeployment(ctx, c.name(), &appsv1.DeploymentArgs{Metadata: metadata, Spec: spec},
		append(c.Rollout.Options(), parent, after, c.keeps(kept...), replicas)...)
	if err != nil {
		return completed, err
	}
	scaled := []pulumi.ResourceOption{parent}
	if c.Colour != c.Plan.Live && !c.Plan.Moves() { // the standby keeps its size
		scaled = append(scaled, pulumi.IgnoreChanges([]string{"spec", annotation(release.ReplicasAnnotation)}))
	}
	var annotations map[string]string
	if c.candidate() {
		annotations = c.madeAnnotations()
	}
	bounds := c.bounds()
	scaler := c.metadata(c.name(), c.selector(), pulumi.StringMap{
		release.ReplicasAnnotation: pulumi.String(release.Bounds{Min: bounds.Min, Max: bounds.Max}.With(c.Plan.Made)),
	})
	completed = kube.Completed(ctx, c.Rollout, deployment, annotations)
	return completed, kube.Scale(ctx, c.name(), scaler, c.selector(), c.Config, bounds, scaled...)
}

// annotation is the property path of an annotation.
func annotation(name string) string { return `metadata.annotations["` + name + `"]` }

// kept are the properties that a Deployment keeps if it isn't the plan's target: all of its container except for the Secret.
var kept = []string{
	annotation(release.VersionAnnotation),
	annotation(release.MadeAnnotation),
	annotation(release.SchemaAnnotation),
	"spec.template.spec.containers[0].image",
	"spec.template.spec.containers[0].env",
	"spec.template.spec.containers[0].resources",
	"spec.template.spec.containers[0].startupProbe",
	"spec.template.spec.containers[0].readinessProbe",
	"spec.template.spec.containers[0].livenessProbe",
}
