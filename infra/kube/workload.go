package kube

import (
	"fmt"
	"maps"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
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
		metadata.Annotations = pulumi.StringMap{
			"prometheus.io/scrape": pulumi.String("true"),
			"prometheus.io/port":   pulumi.String(fmt.Sprint(metrics)),
			"prometheus.io/path":   pulumi.String(catalog.MetricsPath),
		}
	}
	return corev1.PodTemplateSpecArgs{Metadata: metadata, Spec: pod}
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

// NewService creates a Service for the pods of the selector. Pulumi doesn't wait for it, since it waits for the pods.
func NewService(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, selector pulumi.StringMap, port corev1.ServicePortArgs,
	opts ...pulumi.ResourceOption,
) (*corev1.Service, error) {
	metadata.Annotations = pulumi.StringMap{"pulumi.com/skipAwait": pulumi.String("true")}
	return corev1.NewService(ctx, name, &corev1.ServiceArgs{
		Metadata: metadata, Spec: corev1.ServiceSpecArgs{Selector: selector, Ports: corev1.ServicePortArray{port}},
	}, opts...)
}
