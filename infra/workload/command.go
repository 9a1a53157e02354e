package workload

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/isolation"
	"platform.example/infra/network"
	"platform.example/infra/profile"
	"platform.example/infra/quantity"
	"platform.example/infra/resources"
	"platform.example/infra/restricted"
	"platform.example/infra/stack"
)

// command is a command of the public service's image that runs as a Job and uses the API server.
type command struct {
	name     string // of the owner of the pods
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
	return corev1.PodTemplateSpecArgs{
		Metadata: metav1.ObjectMetaArgs{Labels: pulumi.StringMap{
			"app.kubernetes.io/name": pulumi.String(c.name), network.Label: pulumi.String(c.name),
		}},
		Spec: restricted.Pod(p, user, corev1.PodSpecArgs{
			RestartPolicy:                pulumi.String("OnFailure"),
			ServiceAccountName:           c.account.Metadata.Name(),
			AutomountServiceAccountToken: pulumi.Bool(true), // it asks the API server
			EnableServiceLinks:           pulumi.Bool(false),
			PriorityClassName:            c.priority,
			Volumes:                      c.volumes,
			Containers: corev1.ContainerArray{corev1.ContainerArgs{
				Name:            pulumi.String(c.name),
				Image:           c.image,
				Command:         pulumi.ToStringArray([]string{"/app", c.command}),
				Env:             append(goLimits(memory, cpu), c.env...),
				Resources:       resources.New(config.Requested(10), cpu, memory),
				SecurityContext: restricted.Container(),
				VolumeMounts:    c.mounts,
			}},
		}),
	}
}

// bind lets an account do what the rules say in the namespace of the metadata. Home is the account's own namespace.
func bind(
	ctx *pulumi.Context, name string, metadata metav1.ObjectMetaArgs, account *corev1.ServiceAccount, home *isolation.Namespace,
	rules rbacv1.PolicyRuleArray, opts ...pulumi.ResourceOption,
) (*rbacv1.RoleBinding, error) {
	role, err := rbacv1.NewRole(ctx, name, &rbacv1.RoleArgs{Metadata: metadata, Rules: rules}, opts...)
	if err != nil {
		return nil, err
	}
	return rbacv1.NewRoleBinding(ctx, name, &rbacv1.RoleBindingArgs{
		Metadata: metadata,
		RoleRef:  rbacv1.RoleRefArgs{ApiGroup: pulumi.String("rbac.authorization.k8s.io"), Kind: pulumi.String("Role"), Name: role.Metadata.Name().Elem()},
		Subjects: rbacv1.SubjectArray{rbacv1.SubjectArgs{
			Kind: pulumi.String("ServiceAccount"), Name: account.Metadata.Name().Elem(), Namespace: home.Name,
		}},
	}, opts...)
}

// may allows a verb on the objects of these names.
func may(verb, group, resource string, names ...string) rbacv1.PolicyRuleArgs {
	return rbacv1.PolicyRuleArgs{
		ApiGroups: pulumi.ToStringArray([]string{group}), Resources: pulumi.ToStringArray([]string{resource}),
		ResourceNames: pulumi.ToStringArray(names), Verbs: pulumi.ToStringArray([]string{verb}),
	}
}
