package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	kubernetes "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	"platform.example/infra/objectref"
)

// Rollout limits how long an update waits for workloads, and explains why one isn't ready in time.
type Rollout struct {
	deadline time.Duration
	cluster  *Cluster             // nil without a cluster
	explain  *pulumi.ErrorHook    // nil without a cluster
	owner    *pulumi.ResourceHook // nil without a cluster
}

// surplus is how much longer Pulumi waits than the deadline of a Deployment.
const surplus = 15 * time.Second

// lookAgain is the polling interval.
const lookAgain = 250 * time.Millisecond

// Retry calls do at this interval until it returns no error, at most for the time patience. It returns the last error.
func Retry(ctx context.Context, interval, patience time.Duration, do func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, interval, patience, true, func(ctx context.Context) (bool, error) {
		now := do(ctx)
		if now == nil || last == nil || ctx.Err() == nil { // not the error of a request that the timeout cancels
			last = now
		}
		return now == nil, nil
	})
	return cmp.Or(last, err)
}

// FormerReplicaSets is a Deployment's revisionHistoryLimit. Rollbacks don't use old ReplicaSets. If an update restored an earlier template,
// its old ReplicaSet, scaled to 0, would make the rollout look complete at once.
const FormerReplicaSets = 0

// Within is a Rollout without a cluster.
func Within(deadline time.Duration) Rollout { return Rollout{deadline: deadline} }

// NewRollout is a Rollout that finds causes on the cluster.
func (c *Cluster) NewRollout(ctx *pulumi.Context, deadline time.Duration) (Rollout, error) {
	explain, err := ctx.RegisterErrorHook("explain", func(failed *pulumi.ErrorHookArgs) (bool, error) {
		c.explain(ctx, failed)
		return false, nil // no retry: Kubernetes has retried all the time
	})
	if err != nil {
		return Rollout{}, err
	}
	owner, err := ctx.RegisterResourceHook("owner", func(created *pulumi.ResourceHookArgs) error {
		limited, cancel := context.WithTimeout(ctx.Context(), answerTime)
		defer cancel()
		return c.free(limited, ctx.Stack(), objectref.Of(Plain(created.NewInputs)))
	}, nil)
	return Rollout{deadline: deadline, cluster: c, explain: explain, owner: owner}, err
}

// Seconds is the deadline for the fields of a Deployment.
func (r Rollout) Seconds() int { return int(r.deadline.Seconds()) }

// JobSeconds is the deadline for the fields of a Job. It is later than Pulumi's, since Kubernetes deletes the pods, and with them the
// cause, at a Job's deadline.
func (r Rollout) JobSeconds() int { return int((r.deadline + 2*surplus).Seconds()) }

// Patience is how many seconds a process in a Job may wait for a store. It ends early enough to log the failure.
func (r Rollout) Patience() int { return int((r.deadline - surplus).Seconds()) }

// JobAnnotations make the next update replace a failed Job.
func JobAnnotations() pulumi.StringMap {
	return pulumi.StringMap{"pulumi.com/replaceUnready": pulumi.String("true")}
}

// Options apply the deadline to a resource.
func (r Rollout) Options() []pulumi.ResourceOption {
	patience := (r.deadline + surplus).String()
	options := []pulumi.ResourceOption{pulumi.Timeouts(&pulumi.CustomTimeouts{Create: patience, Update: patience})}
	if r.explain != nil {
		options = append(options, pulumi.ResourceHooks(&pulumi.ResourceHookBinding{OnError: []*pulumi.ErrorHook{r.explain}}))
	}
	return options
}

// CreateOptions make a creation fail if another owner has an object of that name.
func (r Rollout) CreateOptions() []pulumi.ResourceOption {
	if r.owner == nil {
		return nil
	}
	return []pulumi.ResourceOption{pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeCreate: []*pulumi.ResourceHook{r.owner}})}
}

// Complete waits until the rollout of a Deployment is complete. It reads the Deployment from the API server, because the provider's cache
// may be older than the provider's own write, so that an update may look complete before it begins. It ignores errors until the deadline,
// at which it fails with the cause.
func (r Rollout) Complete(ctx context.Context, namespace, name string, labels map[string]string) error {
	if r.cluster == nil {
		return nil
	}
	deployments := r.cluster.client.AppsV1().Deployments(namespace)
	err := wait.PollUntilContextTimeout(ctx, lookAgain, r.deadline+surplus, true, func(ctx context.Context) (bool, error) {
		deployment, err := deployments.Get(ctx, name, metav1.GetOptions{})
		return err == nil && completed(*deployment), nil
	})
	if err == nil {
		return nil
	}
	limited, stop := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer stop()
	cause := r.cluster.Cause(limited, Workload{"Deployment", namespace, name, labels})
	incomplete := fmt.Sprintf("Deployment %s/%s isn't ready: its rollout isn't complete", namespace, name)
	return fmt.Errorf("%s; the previous version keeps running", cmp.Or(cause, incomplete))
}

// completed reports whether the Deployment's controller has observed the current generation and completed its rollout. Replicas that
// an autoscaler has just requested may be missing.
func completed(deployment kubernetes.Deployment) bool {
	status := deployment.Status
	return status.ObservedGeneration >= deployment.Generation && status.UpdatedReplicas == status.Replicas &&
		slices.ContainsFunc(status.Conditions, func(condition kubernetes.DeploymentCondition) bool {
			return condition.Type == kubernetes.DeploymentProgressing && condition.Reason == "NewReplicaSetAvailable"
		})
}

// explain logs in one sentence why a Deployment, a StatefulSet, a Job or a Cluster of Postgres isn't ready.
func (c *Cluster) explain(ctx *pulumi.Context, failed *pulumi.ErrorHookArgs) {
	inputs := Plain(failed.NewInputs)
	object := objectref.Of(inputs)
	labels, has, _ := unstructured.NestedStringMap(inputs, "spec", "template", "metadata", "labels")
	if !has {
		labels, _, _ = unstructured.NestedStringMap(inputs, "spec", "inheritedMetadata", "labels")
	}
	limited, cancel := context.WithTimeout(ctx.Context(), answerTime)
	defer cancel()
	cause := c.Cause(limited, Workload{Kind: string(failed.Type.Name()), Namespace: object.Namespace, Name: object.Name, Labels: labels})
	if cause == "" {
		return // Pulumi reports its own error
	}
	_ = ctx.Log.Error(cause+"; the previous version keeps running", nil) // fails only without an engine
}
