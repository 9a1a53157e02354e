package policy

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func disruption(o objects, found found) {
	budgets := of[*policyv1.PodDisruptionBudget](o)
	for _, w := range o.replicated() {
		var matching []*policyv1.PodDisruptionBudget
		for _, budget := range budgets {
			if w.selected(budget.Namespace, budget.Spec.Selector) {
				matching = append(matching, budget)
			}
		}
		if len(matching) != 1 {
			found(w.name, fmt.Sprintf("%d PodDisruptionBudgets select its pods", len(matching)),
				"create exactly one: without one a drain evicts all pods at once, and with two it can't evict any")
			continue
		}
		least, _ := o.bounds(w)
		switch allowed := disruptions(matching[0], least); {
		case allowed < 1:
			found(nameOf(matching[0]),
				fmt.Sprintf("none of the %d replicas of %s may be unavailable, so a drain never ends", least, w.name), "set maxUnavailable to 1")
		case least > 1 && allowed >= least:
			found(nameOf(matching[0]),
				fmt.Sprintf("all %d replicas of %s may be unavailable at once", least, w.name), "set maxUnavailable to 1")
		}
	}
	for _, budget := range budgets {
		protects := func(w workload) bool { return w.selected(budget.Namespace, budget.Spec.Selector) }
		if !slices.ContainsFunc(o.servers(), protects) {
			found(nameOf(budget), "selects no pods", "give it the labels of a workload's pods")
		}
	}
}

// disruptions is how many replicas may be unavailable. It rounds percentages up, like the disruption controller.
func disruptions(budget *policyv1.PodDisruptionBudget, replicas int) int {
	if share := budget.Spec.MaxUnavailable; share != nil {
		allowed, _ := intstr.GetScaledValueFromIntOrPercent(share, replicas, true) // 0 on an error
		return allowed
	}
	available, err := intstr.GetScaledValueFromIntOrPercent(budget.Spec.MinAvailable, replicas, true)
	if err != nil { // also if it isn't set
		return 0
	}
	return replicas - available
}

func rollouts(o objects, found found) {
	for _, w := range o.workloads() {
		deployment, ok := w.object.(*appsv1.Deployment)
		if !ok || !slices.ContainsFunc(of[*corev1.Service](o), w.behind) { // nobody calls it
			continue
		}
		strategy := deployment.Spec.Strategy
		if strategy.Type != "" && strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
			found(w.name, fmt.Sprintf("strategy is %s", strategy.Type), "set it to RollingUpdate")
			continue
		}
		rolling := strategy.RollingUpdate
		if rolling == nil || !is(rolling.MaxUnavailable, 0) || !is(rolling.MaxSurge, 1) {
			found(w.name, "a rollout may make replicas unavailable, or add many at once",
				"set maxUnavailable to 0 and maxSurge to 1")
		}
	}
}

func is(value *intstr.IntOrString, want int) bool {
	return value != nil && *value == intstr.FromInt(want)
}

func spread(o objects, found found) {
	for _, w := range o.replicated() {
		for _, topology := range []string{corev1.LabelHostname, corev1.LabelTopologyZone} {
			spreads := func(constraint corev1.TopologySpreadConstraint) bool {
				return constraint.TopologyKey == topology && w.selected(w.object.GetNamespace(), constraint.LabelSelector)
			}
			if !slices.ContainsFunc(w.pod.Spec.TopologySpreadConstraints, spreads) {
				found(w.name, "its replicas aren't spread over "+topology,
					"add a topologySpreadConstraint with the labels of its own pods")
			}
		}
	}
}

func probes(o objects, found found) {
	for _, w := range o.servers() {
		for _, container := range w.pod.Spec.Containers {
			add := func(wrong, fix string) {
				found(w.name, "container "+container.Name+": "+wrong, fix)
			}
			for _, probe := range []struct {
				name string
				*corev1.Probe
			}{
				{"startupProbe", container.StartupProbe},
				{"readinessProbe", container.ReadinessProbe},
				{"livenessProbe", container.LivenessProbe},
			} {
				if probe.Probe == nil {
					add("no "+probe.name, "add startup, readiness and liveness probes")
					continue
				}
				if http := probe.HTTPGet; http != nil && http.Port.Type == intstr.String {
					if _, exists := portOf([]corev1.Container{container}, http.Port, corev1.ProtocolTCP); !exists {
						add(fmt.Sprintf("%s uses port %s, which doesn't exist", probe.name, http.Port.StrVal), "use a port of the container")
					}
				}
			}
			ready, alive := container.ReadinessProbe, container.LivenessProbe
			if ready != nil && alive != nil && patience(alive) <= patience(ready) {
				add("livenessProbe fails as soon as readinessProbe", "let livenessProbe tolerate failures for longer")
			}
		}
	}
}

// patience is how many seconds a probe may fail, with the API's defaults.
func patience(probe *corev1.Probe) int32 {
	return cmp.Or(probe.PeriodSeconds, 10) * cmp.Or(probe.FailureThreshold, 3)
}

func grace(o objects, found found) {
	for _, w := range o.workloads() {
		// The default is 30 seconds.
		if seconds := w.pod.Spec.TerminationGracePeriodSeconds; seconds != nil && *seconds < 1 {
			found(w.name, fmt.Sprintf("terminationGracePeriodSeconds is %d", *seconds), "give it time to terminate")
		}
	}
}

func priority(o objects, found found) {
	exists := map[string]bool{}
	for _, class := range of[*schedulingv1.PriorityClass](o) {
		exists[class.Name] = true
	}
	for _, w := range o.workloads() {
		if name := w.pod.Spec.PriorityClassName; !exists[name] {
			found(w.name, fmt.Sprintf("the stack has no PriorityClass %q", name),
				"set priorityClassName to its namespace's")
		}
	}
}

func jobs(o objects, found found) {
	for _, w := range o.workloads() {
		if w.job != nil && w.job.BackoffLimit == nil {
			found(w.name, "has no backoffLimit", "limit its retries")
		}
		if w.job != nil && w.job.ActiveDeadlineSeconds == nil {
			found(w.name, "has no activeDeadlineSeconds", "limit its time")
		}
	}
}

func volumes(o objects, found found) {
	for _, set := range of[*appsv1.StatefulSet](o) {
		policy := set.Spec.PersistentVolumeClaimRetentionPolicy // by default volumes are kept
		if len(set.Spec.VolumeClaimTemplates) == 0 || policy == nil {
			continue
		}
		const deletes = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		if policy.WhenDeleted == deletes || policy.WhenScaled == deletes {
			found(nameOf(set), "its volumes are deleted with it", "set persistentVolumeClaimRetentionPolicy to Retain")
		}
	}
}

func labels(o objects, found found) {
	for _, w := range o.workloads() {
		if own, pods := w.object.GetLabels()[appLabel], w.pod.Labels[appLabel]; own == "" || own != pods {
			found(w.name, fmt.Sprintf("%s is %q, but %q on its pods", appLabel, own, pods),
				"set both to the name of the application")
		}
	}
}
