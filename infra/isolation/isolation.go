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
	"platform.example/infra/network"
	"platform.example/infra/profile"
	"platform.example/infra/stack"
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

// NewPolicies creates the NetworkPolicies.
func NewPolicies(
	ctx *pulumi.Context, namespaces map[namespace.Name]*Namespace, prefix namespace.Prefix, p profile.Profile, policies []network.Policy,
	opts ...pulumi.ResourceOption,
) error {
	for _, policy := range policies {
		_, err := networkingv1.NewNetworkPolicy(ctx, policy.Name(), &networkingv1.NetworkPolicyArgs{
			Metadata: metav1.ObjectMetaArgs{
				Name:      pulumi.String(policy.Name()),
				Namespace: namespaces[policy.Namespace].Name,
			},
			Spec: networkingv1.NetworkPolicySpecArgs{
				PodSelector: metav1.LabelSelectorArgs{MatchLabels: pulumi.ToStringMap(network.Selector(policy.Owner))},
				PolicyTypes: pulumi.ToStringArray([]string{"Ingress", "Egress"}),
				Ingress:     ingress(prefix, policy.Ingress),
				Egress:      egress(prefix, policy.Egress, p.DNS),
			},
		}, opts...)
		if err != nil {
			return fmt.Errorf("network policy of %s: %w", policy.Name(), err)
		}
	}
	return nil
}

func ingress(prefix namespace.Prefix, flows []network.Flow) networkingv1.NetworkPolicyIngressRuleArray {
	var rules networkingv1.NetworkPolicyIngressRuleArray
	for _, flow := range flows {
		rules = append(rules, networkingv1.NetworkPolicyIngressRuleArgs{From: peers(prefix, flow.Peer), Ports: portsOf(flow)})
	}
	return rules
}

// egress also allows DNS if there is any flow.
func egress(prefix namespace.Prefix, flows []network.Flow, dns []stack.Peer) networkingv1.NetworkPolicyEgressRuleArray {
	var rules networkingv1.NetworkPolicyEgressRuleArray
	for _, flow := range flows {
		rules = append(rules, networkingv1.NetworkPolicyEgressRuleArgs{To: peers(prefix, flow.Peer), Ports: portsOf(flow)})
	}
	if len(rules) == 0 {
		return nil
	}
	for _, server := range dns {
		to := peers(prefix, network.Peer{Network: server.Network})
		if server.Network == "" {
			to = networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{
				NamespaceSelector: inNamespace(server.Namespace),
				PodSelector:       metav1.LabelSelectorArgs{MatchLabels: pulumi.ToStringMap(server.Labels)},
			}}
		}
		rules = append(rules, networkingv1.NetworkPolicyEgressRuleArgs{
			To: to, Ports: append(ports("UDP", server.Port), ports("TCP", server.Port)...),
		})
	}
	return rules
}

func peers(prefix namespace.Prefix, peer network.Peer) networkingv1.NetworkPolicyPeerArray {
	if peer.Network != "" {
		return networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{
			IpBlock: networkingv1.IPBlockArgs{Cidr: pulumi.String(peer.Network), Except: pulumi.ToStringArray(peer.Except)},
		}}
	}
	namespaces := metav1.LabelSelectorArgs{} // selects all
	if peer.Namespace != "" {
		namespaces = inNamespace(prefix.Of(peer.Namespace))
	}
	return networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{
		NamespaceSelector: namespaces,
		PodSelector:       metav1.LabelSelectorArgs{MatchLabels: pulumi.ToStringMap(network.Selector(peer.Owner))},
	}}
}

func inNamespace(name string) metav1.LabelSelectorArgs {
	return metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"kubernetes.io/metadata.name": pulumi.String(name)}}
}

// portsOf returns the port of a flow: for TCP, and for the gossip of replicas also for UDP.
func portsOf(flow network.Flow) networkingv1.NetworkPolicyPortArray {
	open := ports("TCP", flow.Port)
	if flow.Port == network.GossipPort {
		open = append(open, ports("UDP", flow.Port)...)
	}
	return open
}

func ports(protocol string, port int) networkingv1.NetworkPolicyPortArray {
	return networkingv1.NetworkPolicyPortArray{networkingv1.NetworkPolicyPortArgs{
		Protocol: pulumi.String(protocol), Port: pulumi.Int(port),
	}}
}
