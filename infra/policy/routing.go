package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
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
			if w.ends {
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
func containerPort(w workload, port corev1.ServicePort) (found corev1.ContainerPort, ok bool) {
	for _, container := range w.pod.Spec.Containers {
		if found, ok := portOf(container, intstr.Parse(target(port)), port.Protocol); ok {
			return found, true
		}
	}
	return corev1.ContainerPort{}, false
}

// portOf finds a port by its name or number.
func portOf(container corev1.Container, wanted intstr.IntOrString, protocol corev1.Protocol) (corev1.ContainerPort, bool) {
	at := slices.IndexFunc(container.Ports, func(port corev1.ContainerPort) bool {
		same := wanted.Type == intstr.Int && port.ContainerPort == wanted.IntVal ||
			wanted.Type == intstr.String && port.Name == wanted.StrVal
		return same && orTCP(port.Protocol) == orTCP(protocol)
	})
	if at < 0 {
		return corev1.ContainerPort{}, false
	}
	return container.Ports[at], true
}

func hasPort(container corev1.Container, wanted intstr.IntOrString, protocol corev1.Protocol) bool {
	_, found := portOf(container, wanted, protocol)
	return found
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
