// Package resources says what a container asks for and may use.
package resources

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/quantity"
)

// What a container may write to its node's disk, nearly all of it log: the kubelet keeps five files of 10 MiB.
const (
	diskRequest = 64 * quantity.MiB
	diskLimit   = 256 * quantity.MiB
)

// New is a container's resources. It asks for all of its memory, which can't be taken back.
func New(request, limit quantity.CPU, memory quantity.Bytes) corev1.ResourceRequirementsArgs {
	return corev1.ResourceRequirementsArgs{
		Requests: pulumi.ToStringMap(map[string]string{
			"cpu": request.String(), "memory": memory.String(), "ephemeral-storage": diskRequest.String(),
		}),
		Limits: pulumi.ToStringMap(map[string]string{
			"cpu": limit.String(), "memory": memory.String(), "ephemeral-storage": diskLimit.String(),
		}),
	}
}
