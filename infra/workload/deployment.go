package workload

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/scaling"
)

// newDeployment runs the replicas of this colour and scales them.
func (a Args) newDeployment(
	ctx *pulumi.Context, account *corev1.ServiceAccount, environment corev1.EnvFromSourceArray,
	parent, after pulumi.ResourceOption,
) (completed pulumi.StringOutput, err error) {
	spec := a.pod(account, a.server(environment))
	spec.TopologySpreadConstraints = scaling.Spread(a.colourSelector())
	deployment, err := appsv1.NewDeployment(ctx, a.name(), &appsv1.DeploymentArgs{
		Metadata: a.metadata(a.name(), a.colourSelector()),
		Spec: appsv1.DeploymentSpecArgs{ // without replicas: the autoscaler owns them
			Selector:                metav1.LabelSelectorArgs{MatchLabels: a.colourSelector()},
			RevisionHistoryLimit:    pulumi.Int(cluster.FormerReplicaSets),
			ProgressDeadlineSeconds: pulumi.Int(a.Rollout.Seconds()),
			Strategy: appsv1.DeploymentStrategyArgs{
				Type: pulumi.String("RollingUpdate"),
				RollingUpdate: appsv1.RollingUpdateDeploymentArgs{
					MaxSurge:       pulumi.Int(1),
					MaxUnavailable: pulumi.Int(0),
				},
			},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{
					Labels: a.podLabels(a.colourSelector()),
					Annotations: pulumi.StringMap{
						"prometheus.io/scrape": pulumi.String("true"),
						"prometheus.io/port":   pulumi.String(fmt.Sprint(catalog.OpsPort)),
						"prometheus.io/path":   pulumi.String(catalog.MetricsPath),
					},
				},
				Spec: spec,
			},
		},
	}, append(a.Rollout.Options(), parent, after)...)
	if err != nil {
		return completed, err
	}
	bounds := a.Config.Services[a.Service.Name].Replicas
	return a.Rollout.Completed(ctx, deployment), scaling.New(ctx, a.name(), a.metadata(a.name(), a.colourSelector()), a.colourSelector(), bounds, parent)
}
