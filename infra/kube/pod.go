// Package kube has the common parts of the platform's objects: pods, workloads, accounts and permissions.
package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/profile"
	"platform.example/infra/quantity"
)

// Nobody is the default user id, which the services' Dockerfile uses too.
const Nobody = 65532

// Request and limit of a container's disk space on the node, mostly for logs: the kubelet keeps five files of 10 MiB.
const (
	diskRequest = 64 * quantity.MiB
	diskLimit   = 256 * quantity.MiB
)

// Pod is a pod with one container, with the security contexts of the Pod Security level "restricted" and the scheduling of the cluster's
// profile. It runs as the user, which is also the group of its volumes, or as the user that the cluster assigns.
func Pod(
	p profile.Profile, user int, account *corev1.ServiceAccount, priority pulumi.StringInput, container corev1.ContainerArgs,
) corev1.PodSpecArgs {
	container.SecurityContext = corev1.SecurityContextArgs{
		AllowPrivilegeEscalation: pulumi.Bool(false),
		ReadOnlyRootFilesystem:   pulumi.Bool(true),
		Capabilities:             corev1.CapabilitiesArgs{Drop: pulumi.ToStringArray([]string{"ALL"})},
	}
	security := corev1.PodSecurityContextArgs{
		RunAsNonRoot:        pulumi.Bool(true),
		FsGroupChangePolicy: pulumi.String("OnRootMismatch"),
		SeccompProfile:      corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
	}
	if !p.AssignedUserIDs {
		security.RunAsUser, security.RunAsGroup, security.FsGroup = pulumi.Int(user), pulumi.Int(user), pulumi.Int(user)
	}
	pod := corev1.PodSpecArgs{
		ServiceAccountName:           account.Metadata.Name(),
		AutomountServiceAccountToken: pulumi.Bool(false),
		EnableServiceLinks:           pulumi.Bool(false),
		PriorityClassName:            priority,
		SecurityContext:              security,
		Containers:                   corev1.ContainerArray{container},
	}
	Place(&pod, p)
	return pod
}

// Place lets a pod run on the nodes and with the images of the cluster's profile.
func Place(pod *corev1.PodSpecArgs, p profile.Profile) {
	if len(p.NodeSelector) > 0 {
		pod.NodeSelector = pulumi.ToStringMap(p.NodeSelector)
	}
	if len(p.Tolerations) > 0 {
		pod.Tolerations = Tolerations(p)
	}
	if len(p.ImagePullSecrets) > 0 {
		pod.ImagePullSecrets = PullSecrets(p)
	}
}

// PullSecrets are the cluster's Secrets for pulling images.
func PullSecrets(p profile.Profile) corev1.LocalObjectReferenceArray {
	var secrets corev1.LocalObjectReferenceArray
	for _, name := range p.ImagePullSecrets {
		secrets = append(secrets, corev1.LocalObjectReferenceArgs{Name: pulumi.String(name)})
	}
	return secrets
}

// Tolerations tolerate the taints of the cluster's nodes for the platform.
func Tolerations(p profile.Profile) corev1.TolerationArray {
	var list corev1.TolerationArray
	for _, taint := range p.Tolerations {
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

// Resources are a container's requests and limits. It requests all of its memory, which can't be reclaimed.
func Resources(request, limit quantity.CPU, memory quantity.Bytes) corev1.ResourceRequirementsArgs {
	return corev1.ResourceRequirementsArgs{
		Requests: pulumi.ToStringMap(map[string]string{
			"cpu": request.String(), "memory": memory.String(), "ephemeral-storage": diskRequest.String(),
		}),
		Limits: pulumi.ToStringMap(map[string]string{
			"cpu": limit.String(), "memory": memory.String(), "ephemeral-storage": diskLimit.String(),
		}),
	}
}

// GoLimits are the limits of a Go program: all but a tenth of the memory, which is for memory outside of the Go heap, in KiB or MiB.
func GoLimits(memory quantity.Bytes, unit string, cpu quantity.CPU) corev1.EnvVarArray {
	if unit == "KiB" {
		memory *= 1024
	}
	return corev1.EnvVarArray{
		Variable("GOMEMLIMIT", pulumi.String(fmt.Sprintf("%d%s", int(memory)*9/10, unit))), Variable("GOMAXPROCS", pulumi.String(fmt.Sprint(cpu.Cores()))),
	}
}

// Variable is a variable of a container's environment.
func Variable(name string, value pulumi.StringInput) corev1.EnvVarArgs {
	return corev1.EnvVarArgs{Name: pulumi.String(name), Value: value}
}

// Environment is an environment of plain values, sorted by name.
func Environment(values map[string]string) corev1.EnvVarArray {
	return Variables(pulumi.ToStringMap(values))
}

// Variables is an environment sorted by name.
func Variables(values pulumi.StringMap) corev1.EnvVarArray {
	var list corev1.EnvVarArray
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, Variable(name, values[name]))
	}
	return list
}

// Port is a port of a container.
func Port(name string, number int) corev1.ContainerPortArgs {
	return corev1.ContainerPortArgs{Name: pulumi.String(name), ContainerPort: pulumi.Int(number)}
}

// Probe is an HTTP probe with a timeout and a period in seconds. It fails after that many consecutive failures.
func Probe(path string, port pulumi.Input, timeout, seconds, failures int) corev1.ProbeArgs {
	return corev1.ProbeArgs{
		HttpGet:          corev1.HTTPGetActionArgs{Path: pulumi.String(path), Port: port},
		PeriodSeconds:    pulumi.Int(seconds),
		TimeoutSeconds:   pulumi.Int(timeout),
		FailureThreshold: pulumi.Int(failures),
	}
}

// Mount mounts a volume at a path.
func Mount(volume, path string, readOnly bool) corev1.VolumeMountArgs {
	return corev1.VolumeMountArgs{Name: pulumi.String(volume), MountPath: pulumi.String(path), ReadOnly: pulumi.Bool(readOnly)}
}

// ConfigVolume is the volume "config" of a ConfigMap.
func ConfigVolume(config *corev1.ConfigMap) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String("config"), ConfigMap: corev1.ConfigMapVolumeSourceArgs{Name: config.Metadata.Name()}}
}

// SecretVolume is a volume that the pod's user reads as the volume's group.
func SecretVolume(name string, secret *corev1.Secret) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String(name), Secret: corev1.SecretVolumeSourceArgs{
		SecretName: secret.Metadata.Name(), DefaultMode: pulumi.Int(0o440),
	}}
}

// EmptyVolume is a volume that is empty at each start.
func EmptyVolume(name string, size quantity.Bytes) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String(name), EmptyDir: corev1.EmptyDirVolumeSourceArgs{SizeLimit: pulumi.String(size.String())}}
}
