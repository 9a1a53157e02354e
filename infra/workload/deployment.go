package workload

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
)

// newDeployment runs the replicas of this colour and scales them.
func (a Args) newDeployment(
	ctx *pulumi.Context, account *corev1.ServiceAccount, environment corev1.EnvFromSourceArray,
	parent, after pulumi.ResourceOption,
) error {
	spec := pod(account, a.server(environment))
	spec.TopologySpreadConstraints = corev1.TopologySpreadConstraintArray{
		a.spread("kubernetes.io/hostname"),
		a.spread("topology.kubernetes.io/zone"),
	}
	_, err := appsv1.NewDeployment(ctx, a.name(), &appsv1.DeploymentArgs{
		Metadata: a.metadata(a.name(), a.colourSelector()),
		Spec: appsv1.DeploymentSpecArgs{ // without replicas: the autoscaler owns them
			Selector:                metav1.LabelSelectorArgs{MatchLabels: a.colourSelector()},
			RevisionHistoryLimit:    pulumi.Int(3),
			ProgressDeadlineSeconds: pulumi.Int(deadlineSeconds),
			Strategy: appsv1.DeploymentStrategyArgs{
				Type: pulumi.String("RollingUpdate"),
				RollingUpdate: appsv1.RollingUpdateDeploymentArgs{
					MaxSurge:       pulumi.Int(1),
					MaxUnavailable: pulumi.Int(0),
				},
			},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{
					Labels: a.colourSelector(),
					Annotations: pulumi.StringMap{
						"prometheus.io/scrape": pulumi.String("true"),
						"prometheus.io/port":   pulumi.String(fmt.Sprint(catalog.OpsPort)),
						"prometheus.io/path":   pulumi.String(catalog.MetricsPath),
					},
				},
				Spec: spec,
			},
		},
	}, parent, after, timeouts())
	if err != nil {
		return err
	}
	return a.newScaling(ctx, parent)
}

// spread keeps the replicas of this colour apart where the cluster has room for it.
func (a Args) spread(topology string) corev1.TopologySpreadConstraintArgs {
	return corev1.TopologySpreadConstraintArgs{
		MaxSkew:           pulumi.Int(1),
		TopologyKey:       pulumi.String(topology),
		WhenUnsatisfiable: pulumi.String("ScheduleAnyway"),
		LabelSelector:     metav1.LabelSelectorArgs{MatchLabels: a.colourSelector()},
	}
}
