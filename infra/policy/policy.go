// Package policy checks the Kubernetes objects of a stack against rules, before they are applied to a cluster.
package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/stack"
)

// Object is a manifest.
type Object = map[string]any

// Rule is a condition for all objects of a stack.
type Rule struct {
	Name  string
	Why   string
	check func(objects, found)
}

// Finding is a violation of a rule.
type Finding struct {
	Rule   string
	Object string // such as "Deployment apps/api-gateway-blue"
	Wrong  string
	Fix    string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s (%s)", f.Object, f.Wrong, f.Fix, f.Rule)
}

// Exception lets one object break one rule.
type Exception struct{ Rule, Object, Why string }

// Exceptions returns all exceptions.
func Exceptions() []Exception {
	in := func(kind string, space namespace.Name, name string) string {
		return fmt.Sprintf("%s %s/%s", kind, space, name)
	}
	return []Exception{
		{"rollout", in("Deployment", namespace.Data, network.Cache),
			"two caches at once would have different entries; an empty cache costs time, but loses no data"},
		{"api-token", in("StatefulSet", namespace.Monitoring, network.Prometheus),
			"discovers its targets by the API server; it may only read, and no Secrets"},
		{"api-token", in("Deployment", namespace.Monitoring, network.KubeStateMetrics),
			"reads objects from the API server; it may only read, and no Secrets"},
		{"api-token", in("CronJob", namespace.Data, network.Certificates),
			"renews certificates; it may only read and patch their Secrets"},
		{"api-token", in("Job", namespace.Apps, network.Retire),
			"retires the standby versions; it may only scale their Deployments and autoscalers"},
		{"api-token", in("Deployment", namespace.Data, network.PostgresOperator),
			"runs the instances of Postgres; it may change nothing outside of the namespace of the stores"},
		{"service", in("Service", namespace.Data, network.Postgres), "the operator creates its pods"},
		{"service", in("Service", namespace.Data, network.Pooler), "the operator creates its pods"},
		{"disruption", in("PodDisruptionBudget", namespace.Data, network.Pooler), "the operator creates its pods"},
		{"service", in("Service", namespace.Edge, network.Solver), "cert-manager creates its pods to solve challenges"},
		{"api-token", in("Deployment", namespace.Monitoring, network.NodeStateMetrics),
			"reads nodes from the API server; it may read nothing else"},
	}
}

// Rules returns all rules.
func Rules() []Rule {
	return []Rule{
		{"schema", "the API server drops unknown fields silently, and the rules don't check unknown kinds",
			func(o objects, found found) {
				for _, p := range o.misread {
					found(p.Object, p.Wrong, "follow the API's schema")
				}
			}},
		{"image", "a tag may move to an untested image, a digest can't", images},
		{"resources", "a container without limits takes resources from others, and the scheduler can't place it well", resources},
		{"go-limits", "a Go program that assumes more resources than its limits is killed or throttled", goLimits},
		{"restricted", "an attacker in a container gets no privileges or files of the node; the cluster refuses other pods", restricted},
		{"namespace", "a restricted namespace also refuses privileged pods of others", namespaces},
		{"service-account", "a shared account has the permissions of both users", accounts},
		{"api-token", "a token that a pod doesn't need can be stolen", tokens},
		{"disruption", "a drain must evict replicas one after the other, and must not wait forever", disruption},
		{"rollout", "a rollout that stops a replica before the next is ready loses requests", rollouts},
		{"spread", "replicas on one node or in one zone fail together", spread},
		{"probes", "a server without probes gets requests while it can't answer", probes},
		{"grace", "a pod without a grace period drops its requests in flight", grace},
		{"priority", "without priorities the cluster may preempt the wrong pods", priority},
		{"service", "callers of a Service without a target get errors", services},
		{"exposure", "the edge with its TLS is the only public entry", exposure},
		{"default-deny", "pods that no policy selects must have no traffic", defaultDeny},
		{"network-policy", "a pod that no policy selects has no traffic, and one that admits all peers is open", policies},
		{"service-firewall", "callers of a Service whose pods don't open the port get errors", firewall},
		{"secrets", "many people may read pods and ConfigMaps", secrets},
		{"job", "a Job that retries or hangs forever blocks updates", jobs},
		{"labels", "people and tools find pods by their name", labels},
		{"rbac", "a wildcard includes future permissions", rbac},
		{"volumes", "data must outlive its server", volumes},
	}
}

// Check returns the violations of the stack's objects in a stable order.
func Check(environment stack.Environment, manifests []Object) []Finding {
	read := readAll(environment, manifests)
	var findings []Finding
	rules := Rules()
	if read.unread { // references to unreadable objects would be violations
		rules = rules[:1]
	}
	for _, rule := range rules {
		rule.check(read, func(object, wrong, fix string) {
			if !excused(rule.Name, object) {
				findings = append(findings, Finding{rule.Name, object, wrong, fix})
			}
		})
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Object, b.Object) })
	return findings
}

func excused(rule, object string) bool {
	return slices.ContainsFunc(Exceptions(), func(e Exception) bool {
		kind, name, _ := strings.Cut(e.Object, " ") // the namespace may have the stack's prefix, and the name a generated suffix
		return e.Rule == rule && strings.HasPrefix(object, kind+" ") && strings.HasSuffix(generated.ReplaceAllString(object, ""), name)
	})
}

// generated matches the suffix of a name that Pulumi generates.
var generated = regexp.MustCompile(`-[0-9a-f]{8}$`)

// found records a violation.
type found func(object, wrong, fix string)
