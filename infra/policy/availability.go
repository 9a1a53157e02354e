package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
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
				"have exactly one: without any a drain takes all at once, with two nothing can be evicted")
			continue
		}
		least, _ := o.bounds(w)
		switch allowed := disruptions(matching[0], least); {
		case allowed < 1:
			found(nameOf(matching[0]),
				fmt.Sprintf("of %d replicas of %s none may be away, so that a drain never ends", least, w.name), "set maxUnavailable to 1")
		case least > 1 && allowed >= least:
			found(nameOf(matching[0]),
				fmt.Sprintf("all %d replicas of %s may be away at once", least, w.name), "set maxUnavailable to 1")
		}
	}
	for _, budget := range budgets {
		protects := func(w workload) bool { return w.selected(budget.Namespace, budget.Spec.Selector) }
		if !slices.ContainsFunc(o.servers(), protects) {
			found(nameOf(budget), "selects no pods", "give it the labels of a workload's pods")
		}
	}
}

// disruptions is how many of so many replicas may be away. Shares are rounded up, as the disruption controller does.
func disruptions(budget *policyv1.PodDisruptionBudget, replicas int) int {
	if share := budget.Spec.MaxUnavailable; share != nil {
		allowed, _ := intstr.GetScaledValueFromIntOrPercent(share, replicas, true) // what it can't read is 0
		return allowed
	}
	if share := budget.Spec.MinAvailable; share != nil {
		kept, err := intstr.GetScaledValueFromIntOrPercent(share, replicas, true)
		if err != nil {
			return 0
		}
		return replicas - kept
	}
	return 0
}

func rollouts(o objects, found found) {
	for _, w := range o.workloads() {
		deployment, ok := w.object.(*appsv1.Deployment)
		if !ok || !o.serves(w) {
			continue
		}
		strategy := deployment.Spec.Strategy
		if strategy.Type != "" && strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
			found(w.name, fmt.Sprintf("strategy is %s", strategy.Type), "make it RollingUpdate")
			continue
		}
		rolling := strategy.RollingUpdate
		if rolling == nil || !is(rolling.MaxUnavailable, 0) || !is(rolling.MaxSurge, 1) {
			found(w.name, "a rollout may take away replicas, or add many at once",
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
					add("no "+probe.name, "ask it whether it has started, can answer, and lives")
				} else if port, named := probePort(probe.Probe); named && !hasPort(container, port, corev1.ProtocolTCP) {
					add(fmt.Sprintf("%s asks port %s, which it hasn't", probe.name, port.String()), "name a port of the container")
				}
			}
			ready, alive := container.ReadinessProbe, container.LivenessProbe
			if ready != nil && alive != nil && patience(alive) <= patience(ready) {
				add("it is killed as soon as it isn't ready", "have livenessProbe wait longer than readinessProbe")
			}
		}
	}
}

// probePort is the named port that a probe asks.
func probePort(probe *corev1.Probe) (intstr.IntOrString, bool) {
	var port intstr.IntOrString
	switch {
	case probe.HTTPGet != nil:
		port = probe.HTTPGet.Port
	case probe.TCPSocket != nil:
		port = probe.TCPSocket.Port
	}
	return port, port.Type == intstr.String
}

// patience is how many seconds a probe may fail; the defaults are the API's.
func patience(probe *corev1.Probe) int32 {
	return cmp.Or(probe.PeriodSeconds, 10) * cmp.Or(probe.FailureThreshold, 3)
}

func grace(o objects, found found) {
	for _, w := range o.workloads() {
		// Unset, it is 30 seconds.
		if seconds := w.pod.Spec.TerminationGracePeriodSeconds; seconds != nil && *seconds < 1 {
			found(w.name, fmt.Sprintf("terminationGracePeriodSeconds is %d", *seconds), "give it time to end")
		}
	}
}

func priority(o objects, found found) {
	made := map[string]bool{}
	for _, class := range of[*schedulingv1.PriorityClass](o) {
		made[class.Name] = true
	}
	for _, w := range o.workloads() {
		if name := w.pod.Spec.PriorityClassName; !made[name] {
			found(w.name, fmt.Sprintf("the stack makes no PriorityClass %q", name),
				"set priorityClassName to that of its namespace")
		}
	}
}

func jobs(o objects, found found) {
	judge := func(object typed, spec batchv1.JobSpec) {
		var lacks []string
		if spec.BackoffLimit == nil {
			lacks = append(lacks, "backoffLimit")
		}
		if spec.ActiveDeadlineSeconds == nil {
			lacks = append(lacks, "activeDeadlineSeconds")
		}
		if len(lacks) > 0 {
			found(nameOf(object), "has no "+strings.Join(lacks, " and no "), "bound its tries and its time")
		}
	}
	for _, job := range of[*batchv1.Job](o) {
		judge(job, job.Spec)
	}
	for _, job := range of[*batchv1.CronJob](o) {
		judge(job, job.Spec.JobTemplate.Spec)
	}
}

func volumes(o objects, found found) {
	for _, set := range of[*appsv1.StatefulSet](o) {
		policy := set.Spec.PersistentVolumeClaimRetentionPolicy // unset, volumes are kept
		if len(set.Spec.VolumeClaimTemplates) == 0 || policy == nil {
			continue
		}
		const deletes = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		if policy.WhenDeleted == deletes || policy.WhenScaled == deletes {
			found(nameOf(set), "its volumes go when it goes", "set persistentVolumeClaimRetentionPolicy to Retain")
		}
	}
}

func labels(o objects, found found) {
	for _, w := range o.workloads() {
		if own, pods := w.object.GetLabels()[appLabel], w.pod.Labels[appLabel]; own == "" || own != pods {
			found(w.name, fmt.Sprintf("%s is %q, and %q on its pods", appLabel, own, pods),
				"give both the name of the application")
		}
	}
}
