package workload

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/release"
	"platform.example/infra/scaling"
)

// newDeployment runs the replicas of this colour and scales them. What it returns is known once its rollout is complete.
func (c colour) newDeployment(
	ctx *pulumi.Context, environment corev1.EnvFromSourceArray, parent, after pulumi.ResourceOption,
) (completed pulumi.StringOutput, err error) {
	pod := c.pod(c.server(environment))
	pod.TopologySpreadConstraints = scaling.Spread(c.selector())
	metadata := c.metadata(c.name(), c.selector(), c.madeAnnotations())
	spec := appsv1.DeploymentSpecArgs{ // without replicas: the autoscaler owns them
		Selector:                metav1.LabelSelectorArgs{MatchLabels: c.selector()},
		RevisionHistoryLimit:    pulumi.Int(cluster.FormerReplicaSets),
		ProgressDeadlineSeconds: pulumi.Int(c.Rollout.Seconds()),
		Strategy: appsv1.DeploymentStrategyArgs{
			Type: pulumi.String("RollingUpdate"),
			RollingUpdate: appsv1.RollingUpdateDeploymentArgs{
				MaxSurge:       pulumi.Int(1),
				MaxUnavailable: pulumi.Int(0),
			},
		},
		Template: corev1.PodTemplateSpecArgs{
			Metadata: metav1.ObjectMetaArgs{
				Labels: c.podLabels(c.selector()),
				Annotations: pulumi.StringMap{
					"prometheus.io/scrape": pulumi.String("true"),
					"prometheus.io/port":   pulumi.String(fmt.Sprint(catalog.OpsPort)),
					"prometheus.io/path":   pulumi.String(catalog.MetricsPath),
				},
			},
			Spec: pod,
		},
	}
	if c.candidate() { // is born as large as it must be: the autoscaler looks only every 15 s
		spec.Replicas = pulumi.Int(c.bounds().Min)
	}
	deployment, err := appsv1.NewDeployment(ctx, c.name(), &appsv1.DeploymentArgs{Metadata: metadata, Spec: spec},
		append(c.Rollout.Options(), parent, after, c.keeps(kept...), pulumi.IgnoreChanges([]string{"spec.replicas"}))...)
	if err != nil {
		return completed, err
	}
	scaled := []pulumi.ResourceOption{parent}
	if c.Colour != c.Plan.Live && !c.Plan.Moves() { // stands by as large as it was when the traffic left it
		scaled = append(scaled, pulumi.IgnoreChanges([]string{"spec"}))
	}
	completed = c.Rollout.Completed(ctx, deployment)
	return completed, scaling.New(ctx, c.name(), c.metadata(c.name(), c.selector()), c.selector(), c.Config, c.bounds(), scaled...)
}

// kept is what a Deployment keeps that isn't the plan's target: all of its container but the Secret that it reads.
var kept = []string{
	`metadata.annotations["` + release.VersionAnnotation + `"]`,
	`metadata.annotations["` + release.MadeAnnotation + `"]`,
	"spec.template.spec.containers[0].image",
	"spec.template.spec.containers[0].env",
	"spec.template.spec.containers[0].resources",
	"spec.template.spec.containers[0].startupProbe",
	"spec.template.spec.containers[0].readinessProbe",
	"spec.template.spec.containers[0].livenessProbe",
}
