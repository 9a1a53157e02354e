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

// ranOnce keeps a completed Job unchanged. A failed Job is still replaced.
var ranOnce = pulumi.IgnoreChanges([]string{"metadata", "spec"})

// newJob creates a Job that runs a subcommand of the service and retries it as often as again states. The prefix of its name is owner, which
// is the service or one of its colours. The suffix distinguishes Jobs of one subcommand, such as by version.
func (c colour) newJob(
	ctx *pulumi.Context, resource, owner, subcommand, suffix string, environment corev1.EnvFromSourceArray, variables corev1.EnvVarArray, again int,
	opts ...pulumi.ResourceOption,
) (*batchv1.Job, error) {
	name := owner + "-" + subcommand
	labels := kube.Labels(name) // which no Service selects
	container := c.container(subcommand, environment, subcommand)
	container.Env = append(container.Env.(corev1.EnvVarArray), variables...)
	pod := c.pod(container)
	pod.RestartPolicy = pulumi.String("Never")
	metadata := c.metadata(name+"-"+suffix, labels, cluster.JobAnnotations())
	return batchv1.NewJob(ctx, resource, &batchv1.JobArgs{
		Metadata: metadata,
		Spec: batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(again),
			ActiveDeadlineSeconds: pulumi.Int(c.Rollout.JobSeconds()),
			Template:              kube.Template(c.Service.Name, labels, 0, pod),
		},
	}, append(append(opts, c.Rollout.Options()...), c.keeps("metadata", "spec"))...)
}

// newVerification runs the candidate's subcommand verify. It checks each replica's version and readiness and sends a real request for
// each dependency. The Job has no retries: a candidate must pass at the first attempt.
func (c colour) newVerification(
	ctx *pulumi.Context, environment corev1.EnvFromSourceArray, running pulumi.ArrayOutput, parent pulumi.ResourceOption,
) (verified pulumi.StringOutput, err error) {
	promised := c.Service.Objectives
	keep := pulumi.IgnoreChanges(nil)
	if !c.candidate() { // a completed Job stays unchanged
		running, keep = pulumi.Array{}.ToArrayOutput(), ranOnce
	}
	// The share of late responses has the same limit as in the watch, because the candidate has just started on a busy node.
	late := release.WorstBurn * (1 - promised.LatencyShare)
	at := running.ApplyT(func([]any) string { return URL(c.Config.NamespacePrefix, c.name()) }).(pulumi.StringOutput) // waits for running
	suffix := c.image().Version + "-" + attempt(c.Plan.Made)
	if !c.Service.Public && c.Secrets.Has(catalog.IdentityKeys) { // to sign the identity of a fictitious user
		keys, err := kube.NewSecret(ctx, c.name()+"-verify", c.metadata("", c.selector()),
			pulumi.StringMap{"IDENTITY_KEYS": c.Secrets.Value(catalog.IdentityKeys)}, parent)
		if err != nil {
			return verified, err
		}
		environment = append(slices.Clip(environment), fromSecret(keys))
	}
	job, err := c.newJob(ctx, c.name()+"-verify", c.name(), "verify", suffix, environment, corev1.EnvVarArray{
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
		if known[0].(pulumi.ID) == "" || name == nil || !strings.HasSuffix(*name, suffix) { // excluded by --target
			return ""
		}
		return *name
	}).(pulumi.StringOutput), nil
}

// attempt distinguishes the Jobs of several attempts at one version by a few letters.
func attempt(created string) string {
	at, err := time.Parse(time.RFC3339Nano, created)
	if err != nil {
		return "0"
	}
	return strconv.FormatInt(at.UnixMilli(), 36)
}

// newDemoUser creates the demo user, or sets its password.
func (c colour) newDemoUser(
	ctx *pulumi.Context, environment corev1.EnvFromSourceArray, parent, after pulumi.ResourceOption,
) error {
	secret, err := kube.NewSecret(ctx, c.name()+"-demo", c.metadata("", c.selector()), pulumi.StringMap{
		"DEMO_USER_EMAIL":    pulumi.String(c.Demo.Email),
		"DEMO_USER_PASSWORD": c.Demo.Password,
	}, parent)
	if err != nil {
		return err
	}
	withDemo := append(corev1.EnvFromSourceArray{fromSecret(secret)}, environment...)
	_, err = c.newJob(ctx, c.name()+"-seed-demo", c.name(), "seed-demo", c.image().Version, withDemo, nil, 1, parent, after)
	return err
}
