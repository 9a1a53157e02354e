package kube

import (
	autoscalingv2 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/autoscaling/v2"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	policyv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/policy/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/stack"
)

// The autoscaler's targets, in percent of a replica's usual requests.
const (
	targetCPU    = 70
	targetMemory = 80
)

// Scale creates an autoscaler for the Deployment of that name, and a budget that lets a drain evict one replica at a time. The CPU at
// which it scales doesn't depend on the stack's cpuRequests.
func Scale(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, selector pulumi.StringMap, config stack.Stack, replicas stack.Replicas,
	opts ...pulumi.ResourceOption,
) error {
	_, err := autoscalingv2.NewHorizontalPodAutoscaler(ctx, name, &autoscalingv2.HorizontalPodAutoscalerArgs{
		Metadata: metadata,
		Spec: autoscalingv2.HorizontalPodAutoscalerSpecArgs{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReferenceArgs{
				ApiVersion: pulumi.String("apps/v1"),
				Kind:       pulumi.String("Deployment"),
				Name:       pulumi.String(name),
			},
			MinReplicas: pulumi.Int(replicas.Min),
			MaxReplicas: pulumi.Int(replicas.Max),
			Metrics: autoscalingv2.MetricSpecArray{
				utilization("cpu", targetCPU*100/config.CPURequests),
				utilization("memory", targetMemory),
			},
			Behavior: autoscalingv2.HorizontalPodAutoscalerBehaviorArgs{
				// Scale up at once, at most doubling in 15 s. Scale down after five minutes, by at most a quarter per minute.
				ScaleUp:   change(0, 100, 15),
				ScaleDown: change(300, 25, 60),
			},
		},
	}, opts...)
	if err != nil {
		return err
	}
	_, err = policyv1.NewPodDisruptionBudget(ctx, name, &policyv1.PodDisruptionBudgetArgs{
		Metadata: metadata,
		Spec: policyv1.PodDisruptionBudgetSpecArgs{
			MaxUnavailable:             pulumi.Int(1),
			Selector:                   metav1.LabelSelectorArgs{MatchLabels: selector},
			UnhealthyPodEvictionPolicy: pulumi.String("AlwaysAllow"),
		},
	}, opts...)
	return err
}

// Spread spreads replicas over nodes and zones, if possible.
func Spread(selector pulumi.StringMap) corev1.TopologySpreadConstraintArray {
	var spread corev1.TopologySpreadConstraintArray
	for _, topology := range []string{"kubernetes.io/hostname", "topology.kubernetes.io/zone"} {
		spread = append(spread, corev1.TopologySpreadConstraintArgs{
			MaxSkew:           pulumi.Int(1),
			TopologyKey:       pulumi.String(topology),
			WhenUnsatisfiable: pulumi.String("ScheduleAnyway"),
			LabelSelector:     metav1.LabelSelectorArgs{MatchLabels: selector},
		})
	}
	return spread
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

// change limits scaling to a percentage per period in seconds, with a stabilization window in seconds.
func change(window, percent, seconds int) autoscalingv2.HPAScalingRulesArgs {
	return autoscalingv2.HPAScalingRulesArgs{
		StabilizationWindowSeconds: pulumi.Int(window),
		Policies: autoscalingv2.HPAScalingPolicyArray{autoscalingv2.HPAScalingPolicyArgs{
			Type:          pulumi.String("Percent"),
			Value:         pulumi.Int(percent),
			PeriodSeconds: pulumi.Int(seconds),
		}},
	}
}
