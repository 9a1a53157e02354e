package isolation

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/profile"
	"platform.example/infra/stack"
)

// NewPolicies creates the NetworkPolicies.
func NewPolicies(
	ctx *pulumi.Context, namespaces map[namespace.Name]*Namespace, prefix namespace.Prefix, p profile.Profile, policies []network.Policy,
	opts ...pulumi.ResourceOption,
) error {
	for _, policy := range policies {
		_, err := networkingv1.NewNetworkPolicy(ctx, policy.Owner, &networkingv1.NetworkPolicyArgs{
			Metadata: metav1.ObjectMetaArgs{
				Name:      pulumi.String(policy.Owner),
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
			return fmt.Errorf("network policy of %s: %w", policy.Owner, err)
		}
	}
	return nil
}

func ingress(prefix namespace.Prefix, flows []network.Flow) networkingv1.NetworkPolicyIngressRuleArray {
	var rules networkingv1.NetworkPolicyIngressRuleArray
	for _, flow := range flows {
		rules = append(rules, networkingv1.NetworkPolicyIngressRuleArgs{From: peers(prefix, flow.Peer), Ports: ports("TCP", flow.Port)})
	}
	return rules
}

// egress also allows DNS if there is any flow.
func egress(prefix namespace.Prefix, flows []network.Flow, dns []stack.Peer) networkingv1.NetworkPolicyEgressRuleArray {
	var rules networkingv1.NetworkPolicyEgressRuleArray
	for _, flow := range flows {
		rules = append(rules, networkingv1.NetworkPolicyEgressRuleArgs{To: peers(prefix, flow.Peer), Ports: ports("TCP", flow.Port)})
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
	return networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{
		NamespaceSelector: inNamespace(prefix.Of(peer.Namespace)),
		PodSelector:       metav1.LabelSelectorArgs{MatchLabels: pulumi.ToStringMap(network.Selector(peer.Owner))},
	}}
}

func inNamespace(name string) metav1.LabelSelectorArgs {
	return metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"kubernetes.io/metadata.name": pulumi.String(name)}}
}

func ports(protocol string, port int) networkingv1.NetworkPolicyPortArray {
	return networkingv1.NetworkPolicyPortArray{networkingv1.NetworkPolicyPortArgs{
		Protocol: pulumi.String(protocol), Port: pulumi.Int(port),
	}}
}
