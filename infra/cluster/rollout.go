package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Rollout bounds how long an update waits for what runs on the cluster, and says why if it waited in vain.
type Rollout struct {
	deadline time.Duration
	explain  *pulumi.ErrorHook // nil where nothing is asked
}

// surplus is how much longer than for a Deployment to give up Pulumi waits.
const surplus = 15 * time.Second

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
	return Rollout{deadline: deadline, explain: explain}, err
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

// explain tells, in one sentence, why a Deployment, a StatefulSet or a Job didn't get ready.
func (c *Cluster) explain(ctx *pulumi.Context, failed *pulumi.ErrorHookArgs) {
	metadata := field(failed.NewInputs, "metadata")
	place, name := text(metadata, "namespace"), text(metadata, "name")
	labels := field(failed.NewInputs, "spec", "template", "metadata", "labels")
	selector := map[string]string{}
	for key, value := range labels {
		if value.IsString() {
			selector[string(key)] = value.StringValue()
		}
	}
	limited, cancel := context.WithTimeout(ctx.Context(), answerTime)
	defer cancel()
	cause := c.Cause(limited, Workload{Kind: string(failed.Type.Name()), Namespace: place, Name: name, Labels: selector})
	if cause == "" {
		return // nothing beyond what Kubernetes has told Pulumi
	}
	message := fmt.Sprintf("%s; what ran before goes on", cause)
	_ = ctx.Log.Error(message, nil) // if that fails, the engine is gone
}

func field(properties resource.PropertyMap, path ...resource.PropertyKey) resource.PropertyMap {
	for _, key := range path {
		value := properties[key]
		if value.IsSecret() {
			value = value.SecretValue().Element
		}
		if !value.IsObject() {
			return nil
		}
		properties = value.ObjectValue()
	}
	return properties
}

func text(properties resource.PropertyMap, key resource.PropertyKey) string {
	if value := properties[key]; value.IsString() {
		return value.StringValue()
	}
	return ""
}
