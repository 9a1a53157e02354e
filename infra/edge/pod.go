package edge

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/edge/traefik"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
)

const (
	// One replica forwards about a thousand requests per second with one core.
	cpuRequest = quantity.CPU(100)
	cpuLimit   = quantity.CPU(2000)
	memory     = 192 * quantity.MiB
)

func (a Args) pod(
	account *corev1.ServiceAccount, routes *corev1.ConfigMap, certificate pulumi.StringInput,
) corev1.PodSpecArgs {
	ping := func(seconds, failures int) corev1.ProbeArgs {
		return kube.Probe("/ping", pulumi.String("ops"), 2, seconds, failures)
	}
	pod := kube.Pod(a.Profile, kube.Nobody, account, a.Namespace.Priority, corev1.ContainerArgs{
		Name:    pulumi.String("traefik"),
		Image:   pulumi.String(a.Image),
		Command: pulumi.ToStringArray(append([]string{"/usr/local/bin/traefik"}, traefik.Flags(a.Config)...)),
		Env:     kube.GoLimits(memory, "MiB", cpuLimit),
		Ports: corev1.ContainerPortArray{
			kube.Port("http", network.EdgeHTTPPort), kube.Port("https", network.EdgeHTTPSPort), kube.Port("ops", traefik.OpsPort),
		},
		Resources:      kube.Resources(a.Config.Requested(cpuRequest), cpuLimit, memory),
		StartupProbe:   ping(1, 60),
		ReadinessProbe: ping(2, 2),
		LivenessProbe:  ping(10, 6),
		VolumeMounts:   corev1.VolumeMountArray{kube.Mount("dynamic", traefik.Folder, true)},
	})
	pod.TerminationGracePeriodSeconds = pulumi.Int(traefik.AcceptSeconds + traefik.FinishSeconds + 5)
	pod.TopologySpreadConstraints = kube.Spread(kube.Labels(name))
	pod.Volumes = corev1.VolumeArray{corev1.VolumeArgs{
		Name: pulumi.String("dynamic"),
		Projected: corev1.ProjectedVolumeSourceArgs{
			DefaultMode: pulumi.Int(0o440),
			Sources: corev1.VolumeProjectionArray{
				corev1.VolumeProjectionArgs{ConfigMap: corev1.ConfigMapProjectionArgs{
					Name: routes.Metadata.Name(), Items: items(routesFile),
				}},
				corev1.VolumeProjectionArgs{Secret: corev1.SecretProjectionArgs{
					Name: certificate, Items: items("tls.crt", "tls.key"),
				}},
			},
		},
	}}
	return pod
}

// items puts files into a subfolder of the volume. At the top level Traefik would find each file twice: in the folder that Kubernetes
// replaces on a change, and by the symbolic link to it.
func items(files ...string) corev1.KeyToPathArray {
	var items corev1.KeyToPathArray
	for _, file := range files {
		items = append(items, corev1.KeyToPathArgs{Key: pulumi.String(file), Path: pulumi.String(traefik.Live + "/" + file)})
	}
	return items
}
