package workload

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/kube"
	"platform.example/infra/profile"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

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
