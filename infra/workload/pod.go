package workload

import (
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/kube"
)

const (
	// shutdownDelay is how long a replica that is told to stop goes on serving, while the routing forgets it. The
	// service itself waits, so that a container without a shell needs no hook.
	shutdownDelay = 5 * time.Second

	// lingering is how much longer it serves where no other replica is ready; the service makes it three times the delay.
	lingering = 3 * shutdownDelay

	// grace is all of that and the time to finish the requests in hand and close the stores.
	grace = shutdownDelay + lingering + 25*time.Second
)

// container runs the service's binary, or one of its subcommands.
func (c colour) container(name string, environment corev1.EnvFromSourceArray, arguments ...string) corev1.ContainerArgs {
	limits := c.Service.Resources
	return corev1.ContainerArgs{
		Name:      pulumi.String(name),
		Image:     c.image().Reference,
		Command:   pulumi.ToStringArray(append([]string{"/app"}, arguments...)),
		EnvFrom:   environment,
		Env:       kube.GoLimits(limits.Memory, "KiB", limits.CPULimit),
		Resources: kube.Resources(c.Config.Requested(limits.CPURequest), limits.CPULimit, limits.Memory),
		// What it said last is kept with its state, where an update that fails finds it.
		TerminationMessagePolicy: pulumi.String("FallbackToLogsOnError"),
	}
}

// server is the container that serves.
func (c colour) server(environment corev1.EnvFromSourceArray) corev1.ContainerArgs {
	server := c.container(c.Service.Name, environment)
	server.Ports = corev1.ContainerPortArray{kube.Port("http", catalog.HTTPPort), kube.Port("ops", catalog.OpsPort)}
	probe := func(path string, seconds, failures int) corev1.ProbeArgs {
		return kube.Probe(path, pulumi.String("ops"), 2, seconds, failures)
	}
	server.StartupProbe = probe(catalog.LivePath, 1, 60)
	server.ReadinessProbe = probe(catalog.ReadyPath, 2, 2)
	server.LivenessProbe = probe(catalog.LivePath, 10, 6) // a busy node is no reason to restart
	return server
}

// pod is what the pods of servers and jobs have in common.
func (c colour) pod(container corev1.ContainerArgs) corev1.PodSpecArgs {
	pod := kube.Pod(c.Profile, kube.Nobody, c.account, c.Namespace.Priority, container)
	pod.TerminationGracePeriodSeconds = pulumi.Int(int(grace.Seconds()))
	return pod
}
