// Package isolation creates the platform's namespaces and NetworkPolicies. Each namespace admits only restricted pods, denies traffic by
// default, and has a PriorityClass.
package isolation

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	schedulingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/scheduling/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/namespace"
)

// priorities are the priorities of pods by namespace. Services depend on the stores.
var priorities = map[namespace.Name]int{
	namespace.Data: 1_000_000, namespace.Edge: 900_000, namespace.Apps: 500_000, namespace.Monitoring: 300_000,
}

// Namespace is an existing namespace.
type Namespace struct {
	Name     pulumi.StringOutput
	Priority pulumi.StringOutput // the PriorityClass of its pods
}

// NewNamespace creates a namespace. A protected one can't be deleted, which would delete its volumes.
func NewNamespace(
	ctx *pulumi.Context, name namespace.Name, prefix namespace.Prefix, protect bool, opts ...pulumi.ResourceOption,
) (*Namespace, error) {
	class, err := schedulingv1.NewPriorityClass(ctx, string(name), &schedulingv1.PriorityClassArgs{
		Metadata:    metav1.ObjectMetaArgs{Name: pulumi.String(prefix.ClusterScoped(string(name)))},
		Value:       pulumi.Int(priorities[name]),
		Description: pulumi.Sprintf("Pods of namespace %s", prefix.Of(name)),
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	created, err := corev1.NewNamespace(ctx, string(name), &corev1.NamespaceArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name: pulumi.String(prefix.Of(name)),
			Labels: pulumi.StringMap{
				"pod-security.kubernetes.io/enforce": pulumi.String("restricted"),
				"pod-security.kubernetes.io/audit":   pulumi.String("restricted"),
				"pod-security.kubernetes.io/warn":    pulumi.String("restricted"),
			},
		},
	}, append(opts, pulumi.Protect(protect))...)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	_, err = networkingv1.NewNetworkPolicy(ctx, string(name)+"-default-deny", &networkingv1.NetworkPolicyArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String("default-deny"), Namespace: created.Metadata.Name()},
		Spec: networkingv1.NetworkPolicySpecArgs{
			PodSelector: metav1.LabelSelectorArgs{},
			PolicyTypes: pulumi.ToStringArray([]string{"Ingress", "Egress"}),
		},
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	return &Namespace{Name: created.Metadata.Name().Elem(), Priority: class.Metadata.Name().Elem()}, nil
}
