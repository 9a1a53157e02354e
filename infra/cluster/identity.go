package cluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/namespace"
)

// Output is the name of the stack output that records the ID of the stack's cluster.
const Output = "cluster"

// Own returns an error unless the cluster has the recorded ID, if any, and its namespaces belong to this stack or to none.
func (c *Cluster) Own(ctx *pulumi.Context, recorded string) error {
	if recorded != "" && recorded != c.id {
		return fmt.Errorf("stack %s is on the cluster %s, but platform:kubeContext %q leads to the cluster %s: set kubeContext and "+
			"kubeconfig to the stack's own; if that cluster was deleted, run `pulumi stack rm --force --preserve-config %s` and "+
			"`pulumi stack init %[5]s`", ctx.Stack(), recorded, c.target.Context, c.id, ctx.Stack())
	}
	return c.Settled(ctx.Context(), ctx.Stack())
}

// Settled returns an error if the namespace apps of this stack's prefix belongs to another stack.
func (c *Cluster) Settled(ctx context.Context, stack string) error {
	owner, err := c.settler(ctx)
	if err != nil {
		return fmt.Errorf("stack %s: %w", stack, err)
	}
	if owner != "" && owner != stack {
		return fmt.Errorf("stack %s: platform:kubeContext %q leads to the cluster of stack %s: two stacks can't share one: "+
			"set kubeContext and kubeconfig to the cluster of this stack", stack, c.target.Context, owner)
	}
	return nil
}

// settler returns the stack that owns the namespace apps of this prefix, or an empty string.
func (c *Cluster) settler(ctx context.Context) (string, error) {
	apps, err := c.client.CoreV1().Namespaces().Get(ctx, c.namespace(namespace.Apps), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return apps.Annotations[namespace.StackAnnotation], nil
}

// FindNamespaces sets the namespace prefix to that of the only stack on the cluster.
func (c *Cluster) FindNamespaces(ctx context.Context) error {
	namespaces, err := c.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the namespaces: %w", err)
	}
	var found []string
	for _, one := range namespaces.Items {
		if _, owned := one.Annotations[namespace.StackAnnotation]; owned && strings.HasSuffix(one.Name, string(namespace.Monitoring)) {
			found = append(found, one.Name)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("want one namespace that ends in %q and carries the annotation %s, found %d: %s",
			namespace.Monitoring, namespace.StackAnnotation, len(found), strings.Join(found, ", "))
	}
	c.target.Namespaces = namespace.Prefix(strings.TrimSuffix(found[0], string(namespace.Monitoring)))
	return nil
}
