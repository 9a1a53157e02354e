package workload

import (
	autoscalingv2 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/autoscaling/v2"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	policyv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/policy/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// What the autoscaler aims at, in percent of what a replica asks for.
const (
	targetCPU    = 70
	targetMemory = 80
)

// newScaling sets how many replicas there are, and how few there may be while nodes are drained.
func (a Args) newScaling(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	replicas := a.Config.Replicas
	_, err := autoscalingv2.NewHorizontalPodAutoscaler(ctx, a.name(), &autoscalingv2.HorizontalPodAutoscalerArgs{
		Metadata: a.metadata(a.name(), a.colourSelector()),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpecArgs{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReferenceArgs{
				ApiVersion: pulumi.String("apps/v1"),
				Kind:       pulumi.String("Deployment"),
				Name:       pulumi.String(a.name()),
			},
			MinReplicas: pulumi.Int(replicas.Min),
			MaxReplicas: pulumi.Int(replicas.Max),
			Metrics: autoscalingv2.MetricSpecArray{
				utilization("cpu", targetCPU),
				utilization("memory", targetMemory),
			},
			Behavior: autoscalingv2.HorizontalPodAutoscalerBehaviorArgs{
				// Up at once, at most doubling in 15 s; down only when five minutes have asked for it, a quarter a minute.
				ScaleUp:   scaling(0, 100, 15),
				ScaleDown: scaling(300, 25, 60),
			},
		},
	}, parent)
	if err != nil || replicas.Min < 2 {
		return err // a budget for a single replica would only block the drain of its node
	}
	_, err = policyv1.NewPodDisruptionBudget(ctx, a.name(), &policyv1.PodDisruptionBudgetArgs{
		Metadata: a.metadata(a.name(), a.colourSelector()),
		Spec: policyv1.PodDisruptionBudgetSpecArgs{
			MaxUnavailable:             pulumi.Int(1),
			Selector:                   metav1.LabelSelectorArgs{MatchLabels: a.colourSelector()},
			UnhealthyPodEvictionPolicy: pulumi.String("AlwaysAllow"),
		},
	}, parent)
	return err
}

func utilization(resource string, percent int) autoscalingv2.MetricSpecArgs {
	return autoscalingv2.MetricSpecArgs{
		Type: pulumi.String("Resource"),
		Resource: autoscalingv2.ResourceMetricSourceArgs{
			Name: pulumi.String(resource),
			Target: autoscalingv2.MetricTargetArgs{
				Type:               pulumi.String("Utilization"),
				AverageUtilization: pulumi.Int(percent),
			},
		},
	}
}

// scaling changes at most so many percent in so many seconds, after looking back over a window of seconds.
func scaling(window, percent, seconds int) autoscalingv2.HPAScalingRulesArgs {
	return autoscalingv2.HPAScalingRulesArgs{
		StabilizationWindowSeconds: pulumi.Int(window),
		Policies: autoscalingv2.HPAScalingPolicyArray{autoscalingv2.HPAScalingPolicyArgs{
			Type:          pulumi.String("Percent"),
			Value:         pulumi.Int(percent),
			PeriodSeconds: pulumi.Int(seconds),
		}},
	}
}
