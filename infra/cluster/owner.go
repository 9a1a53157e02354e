package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"platform.example/infra/namespace"
	"platform.example/infra/objectref"
)

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

// Operator reports whether the stack creates the custom resource definitions (CRDs) of CloudNativePG, and whether it creates an operator. It
// shares the CRDs of other stacks, and an operator that belongs to no stack. It returns an error if existing CRDs are too old for the stack.
func (c *Cluster) Operator(ctx context.Context, stack string) (definitions, operator bool, err error) {
	const newest = "primaryLease" // of the fields that the stack sets; an older operator ignores it silently
	clusters := objectref.Ref{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "clusters.postgresql.cnpg.io"}
	owner, exists, err := c.owner(ctx, clusters)
	if err != nil || !exists || owner == stack {
		return true, true, err
	}
	definition, err := c.client.CoreV1().RESTClient().Get().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + clusters.Name).DoRaw(ctx)
	if err != nil {
		return false, false, fmt.Errorf("read %s: %w", clusters, err)
	}
	if !bytes.Contains(definition, []byte(`"`+newest+`"`)) {
		fix := "upgrade the operator to CloudNativePG 1.30 or later, or set platform:postgres.address to a managed Postgres"
		if owner != "" {
			fix = "update stack " + owner + " first, which created it"
		}
		return false, false, fmt.Errorf("%s has no field spec.%s: %s", clusters, newest, fix)
	}
	return false, owner != "", nil
}

// Owns reports whether the object exists and belongs to the stack.
func (c *Cluster) Owns(ctx context.Context, stack string, object objectref.Ref) (bool, error) {
	owner, exists, err := c.owner(ctx, object)
	return exists && owner == stack, err
}

// owner returns the stack in an object's annotation, and whether the object exists.
func (c *Cluster) owner(ctx context.Context, object objectref.Ref) (stack string, exists bool, err error) {
	kind := schema.FromAPIVersionAndKind(object.APIVersion, object.Kind)
	plural, _ := meta.UnsafeGuessKindToResource(kind)
	found, err := c.metadata.Resource(plural).Namespace(object.Namespace).Get(ctx, object.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("find the owner of %s: %w", object, err)
	}
	return found.Annotations[namespace.StackAnnotation], true, nil
}

// Free returns an error for each object that exists without the stack's annotation. The stack neither changes nor deletes such objects.
func (c *Cluster) Free(ctx context.Context, stack string, objects []objectref.Ref) error {
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

func (c *Cluster) free(ctx context.Context, stack string, object objectref.Ref) error {
	owner, exists, err := c.owner(ctx, object)
	switch {
	case err != nil, !exists, owner == stack:
		return err
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
