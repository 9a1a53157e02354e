package workload

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/kube"
	"platform.example/infra/release"
)

// newJob runs a subcommand of the service to its end, and so many times more if it fails. The suffix of its name begins with the
// version: a new image is a new Job.
func (c colour) newJob(
	ctx *pulumi.Context, subcommand, suffix string, environment corev1.EnvFromSourceArray, variables corev1.EnvVarArray, again int,
	opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	name := c.name() + "-" + subcommand
	labels := kube.Labels(name) // no Service may select it
	container := c.container(subcommand, environment, subcommand)
	container.Env = append(container.Env.(corev1.EnvVarArray), variables...)
	pod := c.pod(container)
	pod.RestartPolicy = pulumi.String("Never")
	metadata := c.metadata(name+"-"+suffix, labels, cluster.JobAnnotations())
	return batchv1.NewJob(ctx, name, &batchv1.JobArgs{
		Metadata: metadata,
		Spec: batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(again),
			ActiveDeadlineSeconds: pulumi.Int(c.Rollout.JobSeconds()),
			Template:              kube.Template(c.Service.Name, labels, 0, pod),
		},
	}, append(append(opts, c.Rollout.Options()...), c.keeps("metadata", "spec"))...)
}

// newVerification has the candidate's own binary ask each replica of the candidate who it is, how it is, and for something
// real from each of its dependencies. It fails once and for all: what answers well only at the second try isn't good.
func (c colour) newVerification(
	ctx *pulumi.Context, environment corev1.EnvFromSourceArray, running pulumi.ArrayOutput, parent pulumi.ResourceOption,
) (verified pulumi.StringOutput, err error) {
	promised := c.Service.Objectives
	keep := pulumi.IgnoreChanges(nil)
	if !c.candidate() { // a Job that has succeeded stays as it ran
		running, keep = pulumi.Array{}.ToArrayOutput(), pulumi.IgnoreChanges([]string{"metadata", "spec"})
	}
	// As many answers may be late as of a version that may stay live: this one has just begun, on a node that is busy with it.
	late := release.WorstBurn * (1 - promised.LatencyShare)
	at := running.ApplyT(func([]any) string { return c.url() }).(pulumi.StringOutput) // not before
	suffix := c.image().Version + "-" + attempt(c.Plan.Made)
	if !c.Service.Public && c.Secrets.Has(catalog.IdentityKeys) { // it signs the identity of a user who doesn't exist
		keys, err := c.newSecret(ctx, c.name()+"-verify", pulumi.StringMap{"IDENTITY_KEYS": c.Secrets.Value(catalog.IdentityKeys)}, parent)
		if err != nil {
			return verified, err
		}
		environment = append(slices.Clip(environment), fromSecret(keys))
	}
	job, err := c.newJob(ctx, "verify", suffix, environment, corev1.EnvVarArray{
		kube.Variable("VERIFY_URL", at),
		kube.Variable("VERIFY_ENDPOINTS", pulumi.String(fmt.Sprint(max(1, c.Plan.Replicas)))),
		kube.Variable("VERIFY_LATENCY", pulumi.String(promised.Latency.String())),
		kube.Variable("VERIFY_LATENCY_SHARE", pulumi.String(fmt.Sprintf("%.6g", max(0, 1-late)))),
	}, 0, parent, keep)
	if err != nil {
		return verified, err
	}
	return pulumi.All(job.ID(), job.Metadata.Name()).ApplyT(func(known []any) string {
		name, _ := known[1].(*string)
		if known[0].(pulumi.ID) == "" || name == nil || !strings.HasSuffix(*name, suffix) { // left out, or of an earlier attempt
			return ""
		}
		return *name
	}).(pulumi.StringOutput), nil
}

// attempt tells Jobs of several attempts at the same version apart, in a few letters.
func attempt(made string) string {
	at, err := time.Parse(time.RFC3339Nano, made)
	if err != nil {
		return "0"
	}
	return strconv.FormatInt(at.UnixMilli(), 36)
}

// newDemoUser makes the demo user, or sets its password.
func (c colour) newDemoUser(
	ctx *pulumi.Context, environment corev1.EnvFromSourceArray, parent, after pulumi.ResourceOption,
) error {
	secret, err := c.newSecret(ctx, c.name()+"-demo", pulumi.StringMap{
		"DEMO_USER_EMAIL":    pulumi.String(c.Demo.Email),
		"DEMO_USER_PASSWORD": c.Demo.Password,
	}, parent)
	if err != nil {
		return err
	}
	withDemo := append(corev1.EnvFromSourceArray{fromSecret(secret)}, environment...)
	_, err = c.newJob(ctx, "seed-demo", c.image().Version, withDemo, nil, 1, parent, after)
	return err
}
