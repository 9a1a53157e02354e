package workload

import (
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/kube"
	"platform.example/infra/profile"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

const (
	// shutdownDelay is how long a terminating replica keeps serving until no traffic is routed to it. The service itself waits,
	// since its container has no shell for a preStop hook.
	shutdownDelay = 5 * time.Second

	// lingering is how much longer it serves while no other replica is ready. The service uses three times the delay.
	lingering = 3 * shutdownDelay

	// grace also includes the time to finish requests in flight and to close the stores.
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
		// The status then has the last log lines, for the error of a failed update.
		TerminationMessagePolicy: pulumi.String("FallbackToLogsOnError"),
	}
}

// server is the container of the Deployment.
func (c colour) server(environment corev1.EnvFromSourceArray) corev1.ContainerArgs {
	server := c.container(c.Service.Name, environment)
	server.Ports = corev1.ContainerPortArray{kube.Port("http", catalog.HTTPPort), kube.Port("ops", catalog.OpsPort)}
	probe := func(path string, seconds, failures int) corev1.ProbeArgs {
		return kube.Probe(path, pulumi.String("ops"), 2, seconds, failures)
	}
	server.StartupProbe = probe(catalog.LivePath, 1, 60)
	server.ReadinessProbe = probe(catalog.ReadyPath, 2, 2)
	server.LivenessProbe = probe(catalog.LivePath, 10, 6) // tolerates a busy node
	return server
}

// pod is the common pod of the Deployment and the Jobs.
func (c colour) pod(container corev1.ContainerArgs) corev1.PodSpecArgs {
	pod := kube.Pod(c.Profile, kube.Nobody, c.account, c.Namespace.Priority, container)
	pod.TerminationGracePeriodSeconds = pulumi.Int(int(grace.Seconds()))
	return pod
}

// command is a subcommand of the public service's image that runs as a Job and uses the API server.
type command struct {
	name     string // of the Job or CronJob
	command  string
	image    pulumi.StringInput
	account  *corev1.ServiceAccount
	priority pulumi.StringInput
	env      corev1.EnvVarArray
	mounts   corev1.VolumeMountArray
	volumes  corev1.VolumeArray
}

// template is the Job's pod.
func (c command) template(config stack.Stack, p profile.Profile) corev1.PodTemplateSpecArgs {
	const memory, cpu = 32 * quantity.MiB, quantity.CPU(100)
	pod := kube.Pod(p, kube.Nobody, c.account, c.priority, corev1.ContainerArgs{
		Name:         pulumi.String(c.name),
		Image:        c.image,
		Command:      pulumi.ToStringArray([]string{"/app", c.command}),
		Env:          append(kube.GoLimits(memory, "KiB", cpu), c.env...),
		Resources:    kube.Resources(config.Requested(10), cpu, memory),
		VolumeMounts: c.mounts,
	})
	pod.RestartPolicy, pod.Volumes = pulumi.String("OnFailure"), c.volumes
	pod.AutomountServiceAccountToken = pulumi.Bool(true) // for the API server
	return kube.Template(c.name, kube.Labels(c.name), 0, pod)
}

// may allows a verb on the objects with these names.
func may(verb, group, resource string, names ...string) rbacv1.PolicyRuleArgs {
	return rbacv1.PolicyRuleArgs{
		ApiGroups: pulumi.ToStringArray([]string{group}), Resources: pulumi.ToStringArray([]string{resource}),
		ResourceNames: pulumi.ToStringArray(names), Verbs: pulumi.ToStringArray([]string{verb}),
	}
}
