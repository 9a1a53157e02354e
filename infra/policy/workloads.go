package policy

import "strings"

// workloadRules are about how pods are rolled out, scaled and kept.
func workloadRules() []rule {
	return []rule{
		{"a rollout takes nothing away before its successor is ready", rollsOver},
		{"replicas belong to the autoscaler", scalerOwnsReplicas},
		{"an autoscaler has something to scale", scalerFitsItsTarget},
		{"what is replicated is spread and has a budget", replicatedIsSafe},
		{"a budget lets nodes be drained", budgetLetsDrain},
		{"a Job ends", jobEnds},
		{"data outlives its server", dataStays},
	}
}

// single is a Deployment that never has two replicas at once, and says so.
func single(o Object) bool {
	return o.number("spec", "replicas") == 1 && o.text("spec", "strategy", "type") == "Recreate"
}

func rollsOver(s scene, found func(string, ...any)) {
	if s.object.kind() != "Deployment" || single(s.object) {
		return
	}
	update := s.object.part("spec", "strategy", "rollingUpdate")
	if update.number("maxUnavailable") != 0 || update.number("maxSurge") < 1 {
		found("maxUnavailable is %v and maxSurge %v: want 0 and at least 1", update["maxUnavailable"], update["maxSurge"])
	}
	if s.object.number("spec", "progressDeadlineSeconds") <= 0 {
		found("there is no progressDeadlineSeconds")
	}
}

// scaler is the autoscaler of a Deployment.
func (s scene) scaler(deployment Object) Object {
	return s.some("HorizontalPodAutoscaler", func(o Object) bool {
		return o.namespace() == deployment.namespace() &&
			o.text("spec", "scaleTargetRef", "name") == deployment.text("metadata", "name")
	})
}

func scalerOwnsReplicas(s scene, found func(string, ...any)) {
	if s.object.kind() != "Deployment" || single(s.object) {
		return
	}
	switch scaled := s.scaler(s.object) != nil; {
	case scaled && s.object.at("spec", "replicas") != nil:
		found("it sets replicas %v, which its autoscaler sets too", s.object.at("spec", "replicas"))
	case !scaled:
		found("it has no autoscaler")
	}
}

func scalerFitsItsTarget(s scene, found func(string, ...any)) {
	if s.object.kind() != "HorizontalPodAutoscaler" {
		return
	}
	spec := s.object.part("spec")
	target := s.some(spec.text("scaleTargetRef", "kind"), func(o Object) bool {
		return o.namespace() == s.object.namespace() && o.text("metadata", "name") == spec.text("scaleTargetRef", "name")
	})
	if target == nil {
		found("its target %v isn't made", spec["scaleTargetRef"])
	}
	if least, most := spec.number("minReplicas"), spec.number("maxReplicas"); least < 1 || most < least {
		found("minReplicas is %d and maxReplicas %d", least, most)
	}
	if spec.number("behavior", "scaleDown", "stabilizationWindowSeconds") < 60 {
		found("it takes replicas away at once: want behavior.scaleDown.stabilizationWindowSeconds")
	}
}

func replicatedIsSafe(s scene, found func(string, ...any)) {
	if s.object.kind() != "Deployment" || s.scaler(s.object) == nil {
		return
	}
	labels := s.object.pod().part("metadata", "labels")
	budget := s.some("PodDisruptionBudget", func(o Object) bool {
		return o.namespace() == s.object.namespace() && selects(o.part("spec", "selector", "matchLabels"), labels)
	})
	if budget == nil {
		found("there is no PodDisruptionBudget for its pods")
	}
	keys := map[string]bool{}
	for _, constraint := range s.object.pod().list("spec", "topologySpreadConstraints") {
		if selects(constraint.part("labelSelector", "matchLabels"), labels) {
			keys[constraint.text("topologyKey")] = true
		}
	}
	for _, key := range []string{"kubernetes.io/hostname", "topology.kubernetes.io/zone"} {
		if !keys[key] {
			found("its pods aren't spread by %s", key)
		}
	}
}

func budgetLetsDrain(s scene, found func(string, ...any)) {
	if s.object.kind() == "PodDisruptionBudget" && s.object.number("spec", "maxUnavailable") < 1 {
		found("maxUnavailable is %v: want at least 1, or no node can be drained", s.object.at("spec", "maxUnavailable"))
	}
}

func jobEnds(s scene, found func(string, ...any)) {
	if s.object.kind() != "Job" {
		return
	}
	for _, field := range []string{"activeDeadlineSeconds", "backoffLimit"} {
		if s.object.number("spec", field) < 0 {
			found("there is no %s", field)
		}
	}
}

func dataStays(s scene, found func(string, ...any)) {
	if s.object.kind() != "StatefulSet" {
		return
	}
	if len(s.object.list("spec", "volumeClaimTemplates")) == 0 {
		found("it claims no volume")
	}
	if kept := s.object.text("spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"); !strings.EqualFold(kept, "Retain") {
		found("persistentVolumeClaimRetentionPolicy.whenDeleted is %q: want Retain", kept)
	}
}
