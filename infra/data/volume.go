package data

import (
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// dataVolume claims the volume "data" of a store's server.
func dataVolume(config stack.Stack, size quantity.Bytes) corev1.PersistentVolumeClaimTypeArray {
	claim := corev1.PersistentVolumeClaimSpecArgs{
		AccessModes: pulumi.ToStringArray([]string{"ReadWriteOnce"}),
		Resources: corev1.VolumeResourceRequirementsArgs{
			Requests: pulumi.StringMap{"storage": pulumi.String(size.String())},
		},
	}
	if config.StorageClass != "" {
		claim.StorageClassName = pulumi.String(config.StorageClass)
	}
	return corev1.PersistentVolumeClaimTypeArray{corev1.PersistentVolumeClaimTypeArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String("data")},
		Spec:     claim,
	}}
}

// retainVolumes keeps the data of a server that is removed.
func retainVolumes() appsv1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs {
	return appsv1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs{
		WhenDeleted: pulumi.String("Retain"),
		WhenScaled:  pulumi.String("Retain"),
	}
}
