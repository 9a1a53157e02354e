package kube

import (
	"fmt"
	"maps"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	autoscalingv2 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/autoscaling/v2"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	policyv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/policy/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// Labels are the labels of objects with this name.
func Labels(name string) pulumi.StringMap {
	return pulumi.StringMap{"app.kubernetes.io/name": pulumi.String(name)}
}

// Template is the template of an owner's pods. Prometheus scrapes the port metrics, unless it is 0.
func Template(owner string, labels pulumi.StringMap, metrics int, pod corev1.PodSpecArgs) corev1.PodTemplateSpecArgs {
	labels = maps.Clone(labels)
	labels[network.Label] = pulumi.String(owner)
	metadata := metav1.ObjectMetaArgs{Labels: labels}
	if metrics != 0 {
		metadata.Annotations = Scraped(metrics)
	}
	return corev1.PodTemplateSpecArgs{Metadata: metadata, Spec: pod}
}

// Scraped are the annotations of a pod whose port Prometheus scrapes.
func Scraped(port int) pulumi.StringMap {
	return pulumi.StringMap{
		"prometheus.io/scrape": pulumi.String("true"),
		"prometheus.io/port":   pulumi.String(fmt.Sprint(port)),
		"prometheus.io/path":   pulumi.String(catalog.MetricsPath),
	}
}

// Deployment starts a new pod before it stops an old one. It has no replicas: an autoscaler or the caller sets them.
func Deployment(rollout cluster.Rollout, selector pulumi.StringMap, template corev1.PodTemplateSpecArgs) appsv1.DeploymentSpecArgs {
	return appsv1.DeploymentSpecArgs{
		Selector:                metav1.LabelSelectorArgs{MatchLabels: selector},
		RevisionHistoryLimit:    pulumi.Int(cluster.FormerReplicaSets),
		ProgressDeadlineSeconds: pulumi.Int(rollout.Seconds()),
		Strategy: appsv1.DeploymentStrategyArgs{
			Type:          pulumi.String("RollingUpdate"),
			RollingUpdate: appsv1.RollingUpdateDeploymentArgs{MaxSurge: pulumi.Int(1), MaxUnavailable: pulumi.Int(0)},
		},
		Template: template,
	}
}

// StatefulSet runs one pod with the volume "data" of this size and class. An empty class is the cluster's default.
func StatefulSet(
	service pulumi.StringInput, selector pulumi.StringMap, template corev1.PodTemplateSpecArgs, class string, size quantity.Bytes,
) appsv1.StatefulSetSpecArgs {
	claim := corev1.PersistentVolumeClaimSpecArgs{
		AccessModes: pulumi.ToStringArray([]string{"ReadWriteOnce"}),
		Resources:   corev1.VolumeResourceRequirementsArgs{Requests: pulumi.StringMap{"storage": pulumi.String(size.String())}},
	}
	if class != "" {
		claim.StorageClassName = pulumi.String(class)
	}
	return appsv1.StatefulSetSpecArgs{
		Replicas:    pulumi.Int(1),
		ServiceName: service,
		Selector:    metav1.LabelSelectorArgs{MatchLabels: selector},
		Template:    template,
		VolumeClaimTemplates: corev1.PersistentVolumeClaimTypeArray{corev1.PersistentVolumeClaimTypeArgs{
			Metadata: metav1.ObjectMetaArgs{Name: pulumi.String("data")}, Spec: claim,
		}},
	}
}

// NewService creates a Service. Pulumi doesn't wait for it, since it waits for the pods.
func NewService(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, spec corev1.ServiceSpecArgs, opts ...pulumi.ResourceOption,
) (*corev1.Service, error) {
	metadata.Annotations = pulumi.StringMap{"pulumi.com/skipAwait": pulumi.String("true")}
	return corev1.NewService(ctx, name, &corev1.ServiceArgs{Metadata: metadata, Spec: spec}, opts...)
}

// The autoscaler's targets, in percent of a replica's usual requests.
const (
	targetCPU    = 70
	targetMemory = 80
)

// Scale creates an autoscaler for the Deployment of that name, and a Budget. The CPU at which it scales doesn't depend on the stack's
// cpuRequests.
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
	return Budget(ctx, name, metadata, selector, opts...)
}

// Budget lets a drain evict one of the selector's pods at a time.
func Budget(ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, selector pulumi.StringMap, opts ...pulumi.ResourceOption) error {
	_, err := policyv1.NewPodDisruptionBudget(ctx, name, &policyv1.PodDisruptionBudgetArgs{
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
