package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"

	"platform.example/infra/namespace"
)

// Output is the name of the stack output that records the ID of the stack's cluster.
const Output = "cluster"

// Own is an error unless the cluster is this stack's: the one recorded, if any, where no other stack has settled.
func (c *Cluster) Own(ctx *pulumi.Context, recorded string) error {
	if recorded != "" && recorded != c.id {
		return fmt.Errorf("stack %s is on the cluster %s, but platform:kubeContext %q leads to the cluster %s: set kubeContext and "+
			"kubeconfig to its own, or, if that is gone for good, forget it with `pulumi stack rm --force %s` and begin anew",
			ctx.Stack(), recorded, c.target.Context, c.id, ctx.Stack())
	}
	return c.Settled(ctx.Context(), ctx.Stack())
}

// Settled is an error where another stack than this one has settled on the cluster.
func (c *Cluster) Settled(ctx context.Context, stack string) error {
	settler, err := c.settler(ctx)
	if err != nil {
		return fmt.Errorf("stack %s: %w", stack, err)
	}
	if settler != "" && settler != stack {
		return fmt.Errorf("stack %s: platform:kubeContext %q leads to the cluster of stack %s: two stacks can't share one: "+
			"set kubeContext and kubeconfig to the cluster of this stack", stack, c.target.Context, settler)
	}
	return nil
}

// settler is the stack whose namespaces are on the cluster; empty for none.
func (c *Cluster) settler(ctx context.Context) (string, error) {
	var there corev1.Namespace
	err := c.get(ctx, "/api/v1/namespaces/"+string(namespace.Apps), &there)
	if errors.Is(err, errNotFound) {
		return "", nil
	}
	return there.Annotations[namespace.StackAnnotation], err
}
