package policy

import (
	"slices"
	"strings"

	"platform.example/infra/namespace"
	"platform.example/infra/stack"
)

// networkRules are about who reaches whom.
func networkRules() []rule {
	return []rule{
		{"every pod is behind network policies, in both directions", podIsBehindPolicies},
		{"a network policy is for some pods", policySelects},
		{"a Service leads to pods", serviceLeadsToPods},
		{"only the edge is reached from outside", onlyTheEdgeIsOpen},
	}
}

// pods is whether the object makes pods that a selector takes.
func (s scene) pods(place string, selector Object) Object {
	for _, object := range s.all {
		pod := object.pod()
		if pod != nil && object.namespace() == place && selects(selector, pod.part("metadata", "labels")) {
			return object
		}
	}
	return nil
}

func podIsBehindPolicies(s scene, found func(string, ...any)) {
	pod := s.object.pod()
	if pod == nil {
		return
	}
	own := s.some("NetworkPolicy", func(o Object) bool {
		selector := o.part("spec", "podSelector", "matchLabels")
		return o.namespace() == s.object.namespace() && len(selector) > 0 && bothWays(o) &&
			selects(selector, pod.part("metadata", "labels"))
	})
	if own == nil {
		found("no NetworkPolicy says whom its pods reach and who reaches them")
	}
}

func bothWays(policy Object) bool {
	types, _ := policy.at("spec", "policyTypes").([]any)
	return slices.Contains(types, any("Ingress")) && slices.Contains(types, any("Egress"))
}

func policySelects(s scene, found func(string, ...any)) {
	if s.object.kind() != "NetworkPolicy" {
		return
	}
	if s.pods(s.object.namespace(), s.object.part("spec", "podSelector", "matchLabels")) == nil {
		found("it selects none of the pods")
	}
}

func serviceLeadsToPods(s scene, found func(string, ...any)) {
	if s.object.kind() != "Service" {
		return
	}
	selector := s.object.part("spec", "selector")
	behind := s.pods(s.object.namespace(), selector)
	if len(selector) == 0 || behind == nil {
		found("it selects no pods")
		return
	}
	for _, port := range s.object.list("spec", "ports") {
		target := port["targetPort"]
		if target == nil {
			target = port["port"]
		}
		listens := slices.ContainsFunc(behind.pod().list("spec", "containers"), func(container Object) bool {
			return slices.ContainsFunc(container.list("ports"), func(open Object) bool {
				return open["containerPort"] == target || open["name"] == target
			})
		})
		if !listens {
			found("port %v leads to %v, where its pods have none", port["port"], target)
		}
	}
}

func onlyTheEdgeIsOpen(s scene, found func(string, ...any)) {
	kind := s.object.text("spec", "type")
	inEdge := s.object.namespace() == string(namespace.Edge)
	switch {
	case s.object.kind() == "Ingress":
		found("the way in is the edge")
	case s.object.kind() != "Service" || kind == "ClusterIP" || kind == "":
	case !inEdge:
		found("its type is %s: want ClusterIP", kind)
	case kind == "NodePort" && s.stack == stack.Production:
		found("its type is NodePort: want LoadBalancer or ClusterIP")
	}
}

// namespaceRules are about namespaces, and what everything has.
func namespaceRules() []rule {
	return []rule{
		{"a namespace admits restricted pods only", admitsRestricted},
		{"a namespace denies by default, in both directions", deniesByDefault},
		{"nobody has rights on the cluster", noRights},
		{"no key stands in the open", noKeys},
	}
}

func admitsRestricted(s scene, found func(string, ...any)) {
	if s.object.kind() != "Namespace" {
		return
	}
	if level := s.object.text("metadata", "labels", "pod-security.kubernetes.io/enforce"); level != "restricted" {
		found("pod-security.kubernetes.io/enforce is %q: want restricted", level)
	}
}

func deniesByDefault(s scene, found func(string, ...any)) {
	if s.object.kind() != "Namespace" {
		return
	}
	denies := s.some("NetworkPolicy", func(o Object) bool {
		spec := o.part("spec")
		return o.namespace() == s.object.text("metadata", "name") && len(spec.part("podSelector")) == 0 && bothWays(o) &&
			len(spec.list("ingress")) == 0 && len(spec.list("egress")) == 0
	})
	if denies == nil {
		found("there is no NetworkPolicy for all its pods that lets nothing through")
	}
}

// noRights holds as long as nothing of the platform asks the API server.
func noRights(s scene, found func(string, ...any)) {
	if strings.HasSuffix(s.object.kind(), "Role") || strings.HasSuffix(s.object.kind(), "RoleBinding") {
		found("it gives rights, which nothing here needs")
	}
}

func noKeys(s scene, found func(string, ...any)) {
	if s.object.kind() != "ConfigMap" {
		return
	}
	for key, value := range s.object.part("data") {
		if text, _ := value.(string); strings.Contains(text, "PRIVATE KEY-----") || secretName.MatchString(key) {
			found("%s belongs into a Secret", key)
		}
	}
}
