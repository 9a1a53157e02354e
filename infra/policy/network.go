package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"platform.example/infra/namespace"
	"platform.example/infra/stack"
)

func services(o objects, found found) {
	for _, service := range of[*corev1.Service](o) {
		if len(service.Spec.Selector) == 0 {
			continue
		}
		add := func(wrong, fix string) { found(nameOf(service), wrong, fix) }
		leads := false
		for _, w := range o.workloads() {
			if !w.behind(service) {
				continue
			}
			if w.job != nil {
				add("selects the pods of "+w.name+", which aren't servers", "set another "+appLabel+" on those")
				continue
			}
			leads = true
			for _, port := range service.Spec.Ports {
				if _, found := containerPort(w, port); !found {
					add(fmt.Sprintf("port %d targets port %s of %s, which doesn't exist", port.Port, target(port), w.name), "use a port of its containers")
				}
			}
		}
		if !leads {
			add("selects no pods", "give it the labels of a workload's pods")
		}
	}
}

func target(port corev1.ServicePort) string {
	if port.TargetPort == (intstr.IntOrString{}) {
		return fmt.Sprint(port.Port) // the API's default
	}
	return port.TargetPort.String()
}

// containerPort returns the container port that a Service's port targets.
func containerPort(w workload, port corev1.ServicePort) (corev1.ContainerPort, bool) {
	return portOf(w.pod.Spec.Containers, intstr.Parse(target(port)), port.Protocol)
}

// portOf finds a port of the containers by its name or number.
func portOf(containers []corev1.Container, wanted intstr.IntOrString, protocol corev1.Protocol) (corev1.ContainerPort, bool) {
	for _, container := range containers {
		for _, port := range container.Ports {
			same := wanted.Type == intstr.Int && port.ContainerPort == wanted.IntVal ||
				wanted.Type == intstr.String && port.Name == wanted.StrVal
			if same && orTCP(port.Protocol) == orTCP(protocol) {
				return port, true
			}
		}
	}
	return corev1.ContainerPort{}, false
}

// orTCP is the protocol, by default TCP.
func orTCP(protocol corev1.Protocol) corev1.Protocol { return cmp.Or(protocol, corev1.ProtocolTCP) }

func exposure(o objects, found found) {
	fix := fmt.Sprintf("expose only namespace %s, and node ports only in environment %s", namespace.Edge, stack.Local)
	for _, ingress := range of[*networkingv1.Ingress](o) {
		if !strings.HasSuffix(ingress.Namespace, string(namespace.Edge)) {
			found(nameOf(ingress), "is exposed", fix)
		}
	}
	for _, service := range of[*corev1.Service](o) {
		kind, atEdge := service.Spec.Type, strings.HasSuffix(service.Namespace, string(namespace.Edge))
		allowed := kind == "" || kind == corev1.ServiceTypeClusterIP || kind == corev1.ServiceTypeLoadBalancer && atEdge ||
			kind == corev1.ServiceTypeNodePort && atEdge && o.environment == stack.Local
		if !allowed {
			found(nameOf(service), fmt.Sprintf("is a %s", kind), fix)
		}
		if len(service.Spec.ExternalIPs) > 0 {
			found(nameOf(service), "has externalIPs", fix)
		}
	}
}

var directions = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}

// judges reports whether a policy applies to a direction.
func judges(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(policy.Spec.PolicyTypes) > 0 {
		return slices.Contains(policy.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(policy.Spec.Egress) > 0 // the API's default
}

// everything reports whether a selector selects all objects.
func everything(selector *metav1.LabelSelector) bool {
	return selector != nil && len(selector.MatchLabels)+len(selector.MatchExpressions) == 0
}

func defaultDeny(o objects, found found) {
	for _, namespace := range of[*corev1.Namespace](o) {
		for _, direction := range directions {
			denied := slices.ContainsFunc(of[*networkingv1.NetworkPolicy](o), func(policy *networkingv1.NetworkPolicy) bool {
				return policy.Namespace == namespace.Name && everything(&policy.Spec.PodSelector) && judges(policy, direction) &&
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
		return everything(&policy.Spec.PodSelector) || !judges(policy, direction) || !w.selected(policy.Namespace, &policy.Spec.PodSelector)
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
	return everything(peer.NamespaceSelector) && (peer.PodSelector == nil || everything(peer.PodSelector))
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
