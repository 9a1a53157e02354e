// Package restricted has what all pods have: the security contexts that the Pod Security level "restricted" asks for, and what
// the cluster's profile says of where they run.
package restricted

import (
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/profile"
)

// Pod completes a pod that runs as this user, who is also the group of its volumes; or as the one that the cluster assigns.
func Pod(p profile.Profile, user int, pod corev1.PodSpecArgs) corev1.PodSpecArgs {
	security := corev1.PodSecurityContextArgs{
		RunAsNonRoot:        pulumi.Bool(true),
		FsGroupChangePolicy: pulumi.String("OnRootMismatch"),
		SeccompProfile:      corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
	}
	if !p.AssignedUserIDs {
		security.RunAsUser, security.RunAsGroup, security.FsGroup = pulumi.Int(user), pulumi.Int(user), pulumi.Int(user)
	}
	pod.SecurityContext = security
	if len(p.NodeSelector) > 0 {
		pod.NodeSelector = pulumi.ToStringMap(p.NodeSelector)
	}
	if len(p.Tolerations) > 0 && pod.Tolerations == nil {
		pod.Tolerations = tolerations(p.Tolerations)
	}
	if len(p.ImagePullSecrets) > 0 {
		var secrets corev1.LocalObjectReferenceArray
		for _, name := range p.ImagePullSecrets {
			secrets = append(secrets, corev1.LocalObjectReferenceArgs{Name: pulumi.String(name)})
		}
		pod.ImagePullSecrets = secrets
	}
	return pod
}

func tolerations(taints []string) corev1.TolerationArray {
	var list corev1.TolerationArray
	for _, taint := range taints {
		taint, effect, limited := strings.Cut(taint, ":")
		key, value, valued := strings.Cut(taint, "=")
		toleration := corev1.TolerationArgs{Key: pulumi.String(key), Operator: pulumi.String("Exists")}
		if valued {
			toleration.Operator, toleration.Value = pulumi.String("Equal"), pulumi.String(value)
		}
		if limited {
			toleration.Effect = pulumi.String(effect)
		}
		list = append(list, toleration)
	}
	return list
}

// Container is the security context of its containers.
func Container() corev1.SecurityContextArgs {
	return corev1.SecurityContextArgs{
		AllowPrivilegeEscalation: pulumi.Bool(false),
		ReadOnlyRootFilesystem:   pulumi.Bool(true),
		Capabilities:             corev1.CapabilitiesArgs{Drop: pulumi.ToStringArray([]string{"ALL"})},
	}
}
