package workload

import (
	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/cluster"
)

// newJob runs a subcommand of the service to its end. The version is part of its name: a new image is a new Job.
func (a Args) newJob(
	ctx *pulumi.Context, subcommand string, account *corev1.ServiceAccount, environment corev1.EnvFromSourceArray,
	opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	name := a.Service.Name + "-" + subcommand
	labels := pulumi.StringMap{"app.kubernetes.io/name": pulumi.String(name)} // no Service may select it
	spec := a.pod(account, a.container(subcommand, environment, subcommand))
	spec.RestartPolicy = pulumi.String("Never")
	metadata := a.metadata(name+"-"+a.Image.Version, labels)
	metadata.Annotations = cluster.JobAnnotations()
	return batchv1.NewJob(ctx, name, &batchv1.JobArgs{
		Metadata: metadata,
		Spec: batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(1),
			ActiveDeadlineSeconds: pulumi.Int(a.Rollout.JobSeconds()),
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: a.podLabels(labels)},
				Spec:     spec,
			},
		},
	}, append(opts, a.Rollout.Options()...)...)
}

// newDemoUser makes the demo user, or sets its password.
func (a Args) newDemoUser(
	ctx *pulumi.Context, account *corev1.ServiceAccount, environment corev1.EnvFromSourceArray,
	parent, after pulumi.ResourceOption,
) error {
	secret, err := a.newSecret(ctx, a.Service.Name+"-demo", pulumi.StringMap{
		"DEMO_USER_EMAIL":    pulumi.String(a.Demo.Email),
		"DEMO_USER_PASSWORD": a.Demo.Password,
	}, parent)
	if err != nil {
		return err
	}
	withDemo := append(corev1.EnvFromSourceArray{fromSecret(secret)}, environment...)
	_, err = a.newJob(ctx, "seed-demo", account, withDemo, parent, after)
	return err
}
