package data

import (
	"maps"
	"slices"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/quantity"
	"platform.example/infra/restricted"
)

// namespaceName is where the stores live.
const namespaceName = "data"

// NewNamespace is the namespace of the stores.
func NewNamespace(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (*corev1.Namespace, error) {
	return restricted.NewNamespace(ctx, namespaceName, opts...)
}

func labels(name string) pulumi.StringMap {
	return pulumi.StringMap{"app.kubernetes.io/name": pulumi.String(name)}
}

// storeTimeouts bounds how long an update waits for a store.
func storeTimeouts() pulumi.ResourceOption {
	return pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "5m", Update: "5m"})
}

// newStoreService is the address of a store. Pulumi doesn't wait for it: it waits for the pods behind it already.
func newStoreService(
	ctx *pulumi.Context, name string, namespace *corev1.Namespace, port int, opts ...pulumi.ResourceOption,
) (*corev1.Service, error) {
	return corev1.NewService(ctx, name, &corev1.ServiceArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name:        pulumi.String(name),
			Namespace:   namespace.Metadata.Name(),
			Labels:      labels(name),
			Annotations: pulumi.StringMap{"pulumi.com/skipAwait": pulumi.String("true")},
		},
		Spec: corev1.ServiceSpecArgs{
			Selector: labels(name),
			Ports:    corev1.ServicePortArray{corev1.ServicePortArgs{Name: pulumi.String("tcp"), Port: pulumi.Int(port)}},
		},
	}, opts...)
}

// resources limits a store. It asks for a quarter of its CPU only, so that a small node can hold the platform, and
// for all of its memory, which can't be taken back.
func resources(cpu quantity.CPU, memory quantity.Bytes) corev1.ResourceRequirementsArgs {
	return corev1.ResourceRequirementsArgs{
		Requests: pulumi.StringMap{"cpu": pulumi.String((cpu / 4).String()), "memory": pulumi.String(memory.String())},
		Limits:   pulumi.StringMap{"cpu": pulumi.String(cpu.String()), "memory": pulumi.String(memory.String())},
	}
}

func environment(variables map[string]string) corev1.EnvVarArray {
	var list corev1.EnvVarArray
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		list = append(list, corev1.EnvVarArgs{Name: pulumi.String(name), Value: pulumi.String(variables[name])})
	}
	return list
}

// probe runs a shell command every so many seconds and gives up after so many failures in a row.
func probe(command string, seconds, failures int) corev1.ProbeArgs {
	return corev1.ProbeArgs{
		Exec:             corev1.ExecActionArgs{Command: pulumi.ToStringArray([]string{"/bin/sh", "-c", command})},
		PeriodSeconds:    pulumi.Int(seconds),
		TimeoutSeconds:   pulumi.Int(5),
		FailureThreshold: pulumi.Int(failures),
	}
}

func mount(volume, path string, readOnly bool) corev1.VolumeMountArgs {
	return corev1.VolumeMountArgs{
		Name: pulumi.String(volume), MountPath: pulumi.String(path), ReadOnly: pulumi.Bool(readOnly),
	}
}

func configVolume(name string, config *corev1.ConfigMap) corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name:      pulumi.String(name),
		ConfigMap: corev1.ConfigMapVolumeSourceArgs{Name: config.Metadata.Name()},
	}
}

func secretVolume(name string, secret *corev1.Secret) corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name: pulumi.String(name),
		Secret: corev1.SecretVolumeSourceArgs{
			SecretName:  secret.Metadata.Name(),
			DefaultMode: pulumi.Int(0o440), // the pod's own user reads it as the volume's group
		},
	}
}
