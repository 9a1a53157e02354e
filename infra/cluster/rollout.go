package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	meta "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	kubernetes "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Rollout bounds how long an update waits for what runs on the cluster, and says why if it waited in vain.
type Rollout struct {
	deadline time.Duration
	cluster  *Cluster             // nil where nothing is asked
	explain  *pulumi.ErrorHook    // as cluster
	owner    *pulumi.ResourceHook // as cluster
}

// surplus is how much longer than for a Deployment to give up Pulumi waits.
const surplus = 15 * time.Second

// lookAgain is how often the cluster is asked whether a rollout is complete.
const lookAgain = 250 * time.Millisecond

// FormerReplicaSets is how many of them a Deployment keeps. Whoever goes back does so by an update; and an update that makes
// a Deployment what it was once before would be taken for done at once, since its ReplicaSet is there, scaled to 0.
const FormerReplicaSets = 0

// Within is a Rollout that says nothing.
func Within(deadline time.Duration) Rollout { return Rollout{deadline: deadline} }

// NewRollout is a Rollout that asks the cluster why something didn't get ready.
func (c *Cluster) NewRollout(ctx *pulumi.Context, deadline time.Duration) (Rollout, error) {
	explain, err := ctx.RegisterErrorHook("explain", func(failed *pulumi.ErrorHookArgs) (bool, error) {
		c.explain(ctx, failed)
		return false, nil // no second try: Kubernetes has tried all the time
	})
	if err != nil {
		return Rollout{}, err
	}
	owner, err := c.newOwnerHook(ctx)
	return Rollout{deadline: deadline, cluster: c, explain: explain, owner: owner}, err
}

// Seconds is the deadline in a Deployment's own fields.
func (r Rollout) Seconds() int { return int(r.deadline.Seconds()) }

// JobSeconds is the deadline in a Job's own fields. It is later than Pulumi's: Kubernetes takes the pods away at a Job's
// deadline, and with them the cause.
func (r Rollout) JobSeconds() int { return int((r.deadline + 2*surplus).Seconds()) }

// Patience is how many seconds what runs in a Job may wait for a store, so that it can still say that it did.
func (r Rollout) Patience() int { return int((r.deadline - surplus).Seconds()) }

// JobAnnotations have a Job that failed made anew by the next update.
func JobAnnotations() pulumi.StringMap {
	return pulumi.StringMap{"pulumi.com/replaceUnready": pulumi.String("true")}
}

// Options make a resource heed the deadline.
func (r Rollout) Options() []pulumi.ResourceOption {
	patience := (r.deadline + surplus).String()
	options := []pulumi.ResourceOption{pulumi.Timeouts(&pulumi.CustomTimeouts{Create: patience, Update: patience})}
	if r.explain != nil {
		options = append(options, pulumi.ResourceHooks(&pulumi.ResourceHookBinding{OnError: []*pulumi.ErrorHook{r.explain}}))
	}
	return options
}

// Completed is the Deployment's name, once all its pods are what it was told to run. Pulumi's provider may take an update for
// done that Kubernetes hasn't begun: what it has cached of the Deployment can be older than its own write. Hence the API
// server is asked itself. It is an error, with the cause in one sentence, if the deadline passes; a component that has it
// among its outputs fails then, and nothing of the former version is deleted.
//
// The name is empty where the update leaves the Deployment out, because --target doesn't name it: it isn't there, or lacks
// the annotations that it is to have.
func (r Rollout) Completed(ctx *pulumi.Context, deployment *appsv1.Deployment, annotations map[string]string) pulumi.StringOutput {
	if ctx.DryRun() {
		return deployment.Metadata.Name().Elem()
	}
	metadata, labels := deployment.Metadata, deployment.Spec.Template().Metadata().Labels()
	return pulumi.All(deployment.ID(), metadata, labels).ApplyT(func(known []any) (string, error) {
		id, metadata, labels := known[0].(pulumi.ID), known[1].(meta.ObjectMeta), known[2].(map[string]string)
		for key, value := range annotations {
			if metadata.Annotations[key] != value {
				return "", nil
			}
		}
		if id == "" || metadata.Name == nil || metadata.Namespace == nil {
			return "", nil
		}
		name, place := *metadata.Name, *metadata.Namespace
		if r.cluster == nil {
			return name, nil
		}
		return name, r.cluster.complete(ctx.Context(), r.deadline+surplus, Workload{"Deployment", place, name, labels})
	}).(pulumi.StringOutput)
}

// complete waits until a Deployment's rollout is complete. To be out of reach for a while is no failure.
func (c *Cluster) complete(ctx context.Context, patience time.Duration, workload Workload) error {
	err := wait.PollUntilContextTimeout(ctx, lookAgain, patience, true, func(ctx context.Context) (bool, error) {
		deployment, err := c.client.AppsV1().Deployments(workload.Namespace).Get(ctx, workload.Name, metav1.GetOptions{})
		return err == nil && completed(*deployment), nil
	})
	if err == nil {
		return nil
	}
	limited, stop := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer stop()
	cause := c.Cause(limited, workload)
	if cause == "" {
		cause = fmt.Sprintf("Deployment %s/%s isn't ready: its rollout isn't complete", workload.Namespace, workload.Name)
	}
	return fmt.Errorf("%s; what ran before goes on", cause)
}

// completed reports whether the Deployment's controller has seen what is wanted now, and has brought it about. Replicas that
// an autoscaler has just asked for may be missing.
func completed(deployment kubernetes.Deployment) bool {
	status := deployment.Status
	return status.ObservedGeneration >= deployment.Generation && status.UpdatedReplicas == status.Replicas &&
		slices.ContainsFunc(status.Conditions, func(condition kubernetes.DeploymentCondition) bool {
			return condition.Type == kubernetes.DeploymentProgressing && condition.Reason == "NewReplicaSetAvailable"
		})
}

// explain tells, in one sentence, why a Deployment, a StatefulSet or a Job didn't get ready.
func (c *Cluster) explain(ctx *pulumi.Context, failed *pulumi.ErrorHookArgs) {
	inputs := Plain(failed.NewInputs)
	object := ObjectOf(inputs)
	labels, _, _ := unstructured.NestedStringMap(inputs, "spec", "template", "metadata", "labels")
	limited, cancel := context.WithTimeout(ctx.Context(), answerTime)
	defer cancel()
	cause := c.Cause(limited, Workload{Kind: string(failed.Type.Name()), Namespace: object.Namespace, Name: object.Name, Labels: labels})
	if cause == "" {
		return // nothing beyond what Kubernetes has told Pulumi
	}
	message := fmt.Sprintf("%s; what ran before goes on", cause)
	_ = ctx.Log.Error(message, nil) // if that fails, the engine is gone
}
