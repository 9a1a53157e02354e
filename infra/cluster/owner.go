package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"platform.example/infra/namespace"
)

// Object identifies an object. Namespace is empty for a cluster-scoped one.
type Object struct{ APIVersion, Kind, Namespace, Name string }

// ObjectOf reads the identity of an object from its manifest. Name is empty if the API server or Pulumi generates it.
func ObjectOf(manifest map[string]any) Object {
	text := func(fields map[string]any, key string) string { value, _ := fields[key].(string); return value }
	metadata, _ := manifest["metadata"].(map[string]any)
	return Object{text(manifest, "apiVersion"), text(manifest, "kind"), text(metadata, "namespace"), text(metadata, "name")}
}

// Plain converts Pulumi's properties to plain values, including secrets.
func Plain(properties resource.PropertyMap) map[string]any {
	var plain func(resource.PropertyValue) (any, bool)
	plain = func(value resource.PropertyValue) (any, bool) {
		switch {
		case value.IsSecret():
			return value.SecretValue().Element.MapRepl(nil, plain), true
		case value.IsOutput():
			return value.OutputValue().Element.MapRepl(nil, plain), true
		case value.IsNumber() && value.NumberValue() == float64(int(value.NumberValue())):
			return int(value.NumberValue()), true // a float64 prints as 1e+06
		default:
			return nil, false
		}
	}
	return properties.MapRepl(nil, plain)
}

func (o Object) String() string { return o.Kind + " " + o.ID() }

// ID is Pulumi's ID of the object: its name, preceded by its namespace.
func (o Object) ID() string { return strings.TrimPrefix(o.Namespace+"/"+o.Name, "/") }

// Owns reports whether the object exists and belongs to the stack.
func (c *Cluster) Owns(ctx context.Context, stack string, object Object) (bool, error) {
	owner, err := c.owner(ctx, object)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("find the owner of %s: %w", object, err)
	}
	return err == nil && owner == stack, nil
}

// owner returns the stack in an object's annotation. IsNotFound matches the error for a missing object.
func (c *Cluster) owner(ctx context.Context, object Object) (string, error) {
	kind := schema.FromAPIVersionAndKind(object.APIVersion, object.Kind)
	plural, _ := meta.UnsafeGuessKindToResource(kind)
	found, err := c.metadata.Resource(plural).Namespace(object.Namespace).Get(ctx, object.Name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return found.Annotations[namespace.StackAnnotation], nil
}

// Free returns an error for each object that exists without the stack's annotation. The stack neither changes nor deletes such objects.
func (c *Cluster) Free(ctx context.Context, stack string, objects []Object) error {
	const atOnce = 16
	faults := make([]error, len(objects))
	checking, ctx := errgroup.WithContext(ctx)
	checking.SetLimit(atOnce)
	for i, object := range objects {
		checking.Go(func() error {
			faults[i] = c.free(ctx, stack, object)
			return nil
		})
	}
	_ = checking.Wait() // never fails
	return errors.Join(faults...)
}

func (c *Cluster) free(ctx context.Context, stack string, object Object) error {
	owner, err := c.owner(ctx, object)
	switch {
	case apierrors.IsNotFound(err), err == nil && owner == stack:
		return nil
	case err != nil:
		return fmt.Errorf("find the owner of %s: %w", object, err)
	case owner != "":
		return fmt.Errorf("%s belongs to stack %s: set platform:namespacePrefix, so that the names of this stack differ", object, owner)
	}
	inNamespace := ""
	if object.Namespace != "" {
		inNamespace = " --namespace " + object.Namespace
	}
	return fmt.Errorf("%s exists, and stack %s didn't create it: set platform:namespacePrefix, so that the names of this stack "+
		"differ; or let the stack adopt, change and later delete it with `kubectl annotate%s %s %s %s=%s`",
		object, stack, inNamespace, strings.ToLower(object.Kind), object.Name, namespace.StackAnnotation, stack)
}

// newOwnerHook refuses to create an object over one of another owner.
func (c *Cluster) newOwnerHook(ctx *pulumi.Context) (*pulumi.ResourceHook, error) {
	return ctx.RegisterResourceHook("owner", func(created *pulumi.ResourceHookArgs) error {
		object := ObjectOf(Plain(created.NewInputs))
		limited, cancel := context.WithTimeout(ctx.Context(), answerTime)
		defer cancel()
		return c.free(limited, ctx.Stack(), object)
	}, nil)
}

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
