package kube

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	provider "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/cluster"
	"platform.example/infra/namespace"
)

// NewProvider creates the Kubernetes provider for the cluster.
func NewProvider(ctx *pulumi.Context, target cluster.Target) (*provider.Provider, error) {
	args := &provider.ProviderArgs{
		EnableServerSideApply: pulumi.Bool(true),
		// Changing a Secret that isn't immutable then keeps its name and doesn't restart its pods.
		EnableSecretMutable: pulumi.Bool(true),
		// The provider sends a request per resource. Its default limit is 50 per second.
		KubeClientSettings: provider.KubeClientSettingsArgs{Qps: pulumi.Float64(500), Burst: pulumi.Int(1000)},
	}
	if target.Kubeconfig != "" {
		args.Kubeconfig = pulumi.String(target.Kubeconfig)
	}
	if target.Context != "" {
		args.Context = pulumi.String(target.Context)
	}
	return provider.NewProvider(ctx, "cluster", args)
}

// Own annotates all objects that the program creates with the stack. It also applies the rollout's options for their creation.
func Own(ctx *pulumi.Context, rollout cluster.Rollout) error {
	return ctx.RegisterStackTransformation(func(args *pulumi.ResourceTransformationArgs) *pulumi.ResourceTransformationResult {
		if !strings.HasPrefix(args.Type, "kubernetes:") || !annotate(args.Props, ctx.Stack()) {
			return nil
		}
		return &pulumi.ResourceTransformationResult{Props: args.Props, Opts: slices.Concat(args.Opts, rollout.CreateOptions())}
	})
}

// annotate adds the stack's annotation to the arguments of a resource. It reports whether they have metadata.
func annotate(args pulumi.Input, stack string) bool {
	if untyped, ok := args.(provider.UntypedArgs); ok {
		untyped["metadata"] = annotated(untyped["metadata"], stack)
		return true
	}
	fields := reflect.ValueOf(args)
	if fields.Kind() != reflect.Pointer || fields.Elem().Kind() != reflect.Struct {
		return false
	}
	field := fields.Elem().FieldByName("Metadata")
	if !field.IsValid() {
		return false
	}
	field.Set(reflect.ValueOf(annotated(field.Interface(), stack)))
	return true
}

func annotated(metadata any, stack string) metav1.ObjectMetaArgs {
	changed, _ := metadata.(metav1.ObjectMetaArgs)
	given, _ := changed.Annotations.(pulumi.StringMap)
	annotations := pulumi.StringMap{}
	maps.Copy(annotations, given)
	annotations[namespace.StackAnnotation] = pulumi.String(stack)
	changed.Annotations = annotations
	return changed
}

// Completed resolves to the Deployment's name once its rollout is complete. If it fails, a component with this output fails too, and the
// update deletes nothing of the previous version.
//
// The name is empty if the update excludes the Deployment (--target): it doesn't exist, or lacks the annotations.
func Completed(
	ctx *pulumi.Context, rollout cluster.Rollout, deployment *appsv1.Deployment, annotations map[string]string,
) pulumi.StringOutput {
	if ctx.DryRun() {
		return deployment.Metadata.Name().Elem()
	}
	metadata, labels := deployment.Metadata, deployment.Spec.Template().Metadata().Labels()
	return pulumi.All(deployment.ID(), metadata, labels).ApplyT(func(known []any) (string, error) {
		id, metadata, labels := known[0].(pulumi.ID), known[1].(metav1.ObjectMeta), known[2].(map[string]string)
		for key, value := range annotations {
			if metadata.Annotations[key] != value {
				return "", nil
			}
		}
		if id == "" || metadata.Name == nil || metadata.Namespace == nil {
			return "", nil
		}
		return *metadata.Name, rollout.Complete(ctx.Context(), *metadata.Namespace, *metadata.Name, labels)
	}).(pulumi.StringOutput)
}
