// Package policy judges the Kubernetes objects of a stack before any cluster sees them: what must hold for each of them
// stands here as rules, which is data. It knows nothing of how the objects came to be.
package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/stack"
)

// Object is a Kubernetes object as plain values: apiVersion, kind, metadata and what belongs to the kind.
type Object = map[string]any

// Rule is what must hold for all objects of one stack.
type Rule struct {
	Name  string
	Why   string
	check func(objects, found)
}

// Finding is a rule that an object breaks.
type Finding struct {
	Rule   string
	Object string // such as "Deployment apps/api-gateway-blue"
	Wrong  string
	Fix    string
}

// String is the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s (%s)", f.Object, f.Wrong, f.Fix, f.Rule)
}

// Exception lets one object break one rule.
type Exception struct{ Rule, Object, Why string }

// Exceptions is every exception there is.
func Exceptions() []Exception {
	return []Exception{{
		Rule:   "rollout",
		Object: fmt.Sprintf("Deployment %s/%s", namespace.Data, network.Cache),
		Why:    "two caches at once would answer differently; an empty one costs time and loses nothing",
	}, {
		Rule:   "api-token",
		Object: fmt.Sprintf("StatefulSet %s/%s", namespace.Monitoring, network.Prometheus),
		Why:    "asks the API server whom to watch; it may read, and no Secret",
	}, {
		Rule:   "api-token",
		Object: fmt.Sprintf("Deployment %s/%s", namespace.Monitoring, network.KubeStateMetrics),
		Why:    "asks the API server how objects are; it may read, and no Secret",
	}, {
		Rule:   "api-token",
		Object: fmt.Sprintf("CronJob %s/%s", namespace.Data, network.Certificates),
		Why:    "renews certificates; it may read and patch the Secrets that hold them, and nothing else",
	}, {
		Rule:   "service",
		Object: fmt.Sprintf("Service %s/%s", namespace.Edge, network.Solver),
		Why:    "cert-manager makes its pods, while it proves to an issuer that the host is ours",
	}, {
		Rule:   "api-token",
		Object: fmt.Sprintf("Deployment %s/%s", namespace.Monitoring, network.NodeStateMetrics),
		Why:    "asks the API server how nodes are; it may read nothing else",
	}}
}

// Rules is every rule.
func Rules() []Rule {
	return []Rule{
		{"schema", "a field that the cluster doesn't know is dropped without a word, and a kind that no rule knows is not judged",
			func(o objects, found found) {
				for _, p := range o.misread {
					found(p.object, p.wrong, p.fix)
				}
			}},
		{"image", "what was tested is what runs: a tag moves, a digest doesn't", images},
		{"resources", "a container without bounds takes what others need, and nobody can place it", resources},
		{"go-limits", "a Go program that thinks it has more than it has is killed or throttled", goLimits},
		{"restricted", "an attacker in a container finds neither rights nor files of the node; a cluster refuses the pod otherwise", restricted},
		{"namespace", "a namespace that admits only restricted pods holds for those that nobody wrote here, too", namespaces},
		{"service-account", "an account that two share can't be given less than both need", accounts},
		{"api-token", "a token that a pod doesn't need is a token that can be stolen", tokens},
		{"disruption", "a drain must take replicas one after the other, and must not wait for ever", disruption},
		{"rollout", "a rollout that takes a replica away before the next is ready loses requests", rollouts},
		{"spread", "replicas on one node or in one zone fail together", spread},
		{"probes", "a server without probes gets requests before it can answer, and after", probes},
		{"grace", "a pod without time to end drops what it has in hand", grace},
		{"priority", "where room is short, the cluster must know who is needed most", priority},
		{"service", "a Service that leads nowhere is found out by its callers", services},
		{"exposure", "there is one way in, and it speaks TLS", exposure},
		{"default-deny", "who is not named in a policy must reach nobody and be reached by nobody", defaultDeny},
		{"network-policy", "a pod that no policy names reaches nobody, and one that lets in everybody is open", policies},
		{"service-firewall", "a Service whose port is closed at its pods is found out by its callers", firewall},
		{"secrets", "what stands in a pod's description or a ConfigMap is read by everybody who may look", secrets},
		{"job", "a Job that fails for ever, or hangs, holds up who waits for it", jobs},
		{"labels", "people and tools find pods by their name", labels},
		{"rbac", "a right to everything includes the rights of tomorrow", rbac},
		{"volumes", "data outlives the server that wrote it", volumes},
	}
}

// Check is every rule that an object of the stack breaks, in a steady order.
func Check(environment stack.Environment, manifests []Object) []Finding {
	read := readAll(environment, manifests)
	var findings []Finding
	rules := Rules()
	if read.unread { // whatever leads to the missing object would be wrong too
		rules = rules[:1]
	}
	for _, rule := range rules {
		for _, problem := range rule.problems(read) {
			if !excused(rule.Name, problem.object) {
				findings = append(findings, Finding{rule.Name, problem.object, problem.wrong, problem.fix})
			}
		}
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Object, b.Object) })
	return findings
}

func excused(rule, object string) bool {
	return slices.ContainsFunc(Exceptions(), func(e Exception) bool {
		kind, name, _ := strings.Cut(e.Object, " ") // a stack may have a prefix before its namespaces
		return e.Rule == rule && strings.HasPrefix(object, kind+" ") && strings.HasSuffix(object, name)
	})
}

// problem is a finding before it is known whose.
type problem struct{ object, wrong, fix string }

// found takes a problem down.
type found func(object, wrong, fix string)

func (r Rule) problems(o objects) (all []problem) {
	r.check(o, func(object, wrong, fix string) { all = append(all, problem{object, wrong, fix}) })
	return all
}
