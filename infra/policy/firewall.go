package policy

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var directions = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}

// judges reports whether a policy applies to a direction.
func judges(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(policy.Spec.PolicyTypes) > 0 {
		return slices.Contains(policy.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(policy.Spec.Egress) > 0 // the API's default
}

// ofAll reports whether a policy selects all pods of its namespace.
func ofAll(policy *networkingv1.NetworkPolicy) bool {
	return len(policy.Spec.PodSelector.MatchLabels)+len(policy.Spec.PodSelector.MatchExpressions) == 0
}

func defaultDeny(o objects, found found) {
	for _, namespace := range of[*corev1.Namespace](o) {
		for _, direction := range directions {
			denied := slices.ContainsFunc(of[*networkingv1.NetworkPolicy](o), func(policy *networkingv1.NetworkPolicy) bool {
				return policy.Namespace == namespace.Name && ofAll(policy) && judges(policy, direction) &&
					len(policy.Spec.Ingress)+len(policy.Spec.Egress) == 0
			})
			if !denied {
				found(nameOf(namespace), fmt.Sprintf("no NetworkPolicy denies %s by default", direction),
					"add one with an empty podSelector and no rules")
			}
		}
	}
}

// own returns the policies that select the workload's pods, except for those that select all pods.
func (o objects) own(w workload, direction networkingv1.PolicyType) []*networkingv1.NetworkPolicy {
	return slices.DeleteFunc(of[*networkingv1.NetworkPolicy](o), func(policy *networkingv1.NetworkPolicy) bool {
		return ofAll(policy) || !judges(policy, direction) || !w.selected(policy.Namespace, &policy.Spec.PodSelector)
	})
}

func policies(o objects, found found) {
	for _, w := range o.workloads() {
		for _, direction := range directions {
			if len(o.own(w, direction)) == 0 {
				found(w.name, fmt.Sprintf("no NetworkPolicy allows its pods any %s", direction),
					"add the label of their owner, and a policy for the owner")
			}
		}
	}
	for _, policy := range of[*networkingv1.NetworkPolicy](o) {
		anybody := slices.ContainsFunc(policy.Spec.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool {
			return len(rule.From) == 0 || slices.ContainsFunc(rule.From, everyPod)
		}) || slices.ContainsFunc(policy.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
			return len(rule.To) == 0 || slices.ContainsFunc(rule.To, everyPod)
		})
		if anybody {
			found(nameOf(policy), "a rule has no peers or selects all pods", "name the peers")
		}
	}
}

// everyPod reports whether a peer selects all pods of all namespaces.
func everyPod(peer networkingv1.NetworkPolicyPeer) bool {
	empty := func(selector *metav1.LabelSelector) bool {
		return selector != nil && len(selector.MatchLabels)+len(selector.MatchExpressions) == 0
	}
	return empty(peer.NamespaceSelector) && (peer.PodSelector == nil || empty(peer.PodSelector))
}

func firewall(o objects, found found) {
	for _, service := range of[*corev1.Service](o) {
		for _, w := range o.servers() {
			own := o.own(w, networkingv1.PolicyTypeIngress)
			if !w.behind(service) || len(own) == 0 { // the rule network-policy reports workloads without one
				continue
			}
			for _, port := range service.Spec.Ports {
				at, has := containerPort(w, port)
				if has && !slices.ContainsFunc(own, func(policy *networkingv1.NetworkPolicy) bool { return letsIn(policy, at) }) {
					found(nameOf(service),
						fmt.Sprintf("port %d targets port %d of %s, which no NetworkPolicy opens", port.Port, at.ContainerPort, w.name),
						"allow its callers, or remove the port")
				}
			}
		}
	}
}

// letsIn reports whether a policy opens the port to any peer.
func letsIn(policy *networkingv1.NetworkPolicy, at corev1.ContainerPort) bool {
	return slices.ContainsFunc(policy.Spec.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool {
		return len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, func(open networkingv1.NetworkPolicyPort) bool {
			if open.Protocol != nil && *open.Protocol != orTCP(at.Protocol) {
				return false
			}
			switch {
			case open.Port == nil:
				return true
			case open.Port.Type == intstr.String:
				return open.Port.StrVal == at.Name
			case open.EndPort != nil:
				return open.Port.IntVal <= at.ContainerPort && at.ContainerPort <= *open.EndPort
			}
			return open.Port.IntVal == at.ContainerPort
		})
	})
}
