package policy

import (
	"iter"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	labelset "k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// appLabel is on every object with pods, and on the pods.
const appLabel = "app.kubernetes.io/name"

// workload is an object that makes pods.
type workload struct {
	object   typed
	name     string // as in findings
	pod      corev1.PodTemplateSpec
	ends     bool   // is a Job
	replicas *int32 // as the object says, where it has replicas at all
	scales   bool   // is of a kind that has replicas
}

func (o objects) workloads() []workload {
	var found []workload
	for _, object := range o.all {
		made := workload{object: object, name: nameOf(object)}
		switch object := object.(type) {
		case *appsv1.Deployment:
			made.pod, made.scales, made.replicas = object.Spec.Template, true, object.Spec.Replicas
		case *appsv1.StatefulSet:
			made.pod, made.scales, made.replicas = object.Spec.Template, true, object.Spec.Replicas
		case *appsv1.DaemonSet:
			made.pod = object.Spec.Template
		case *batchv1.Job:
			made.pod, made.ends = object.Spec.Template, true
		case *batchv1.CronJob:
			made.pod, made.ends = object.Spec.JobTemplate.Spec.Template, true
		default:
			continue
		}
		found = append(found, made)
	}
	return found
}

// servers is the workloads that are meant to run for ever.
func (o objects) servers() []workload {
	return slices.DeleteFunc(o.workloads(), func(w workload) bool { return w.ends })
}

// replicated is the workloads that may have more than one replica.
func (o objects) replicated() []workload {
	return slices.DeleteFunc(o.servers(), func(w workload) bool {
		_, most := o.bounds(w)
		return !w.scales || most < 2
	})
}

// bounds is how many replicas a workload has, at least and at most.
func (o objects) bounds(w workload) (least, most int) {
	for _, scaler := range of[*autoscalingv2.HorizontalPodAutoscaler](o) {
		if scales(scaler, w) {
			return minReplicas(scaler), int(scaler.Spec.MaxReplicas)
		}
	}
	replicas := int(ptr.Deref(w.replicas, 1)) // as the API defines it
	return replicas, replicas
}

func scales(scaler *autoscalingv2.HorizontalPodAutoscaler, w workload) bool {
	target := scaler.Spec.ScaleTargetRef
	return w.scales && join(target.Kind, scaler.Namespace, target.Name) == w.name
}

func minReplicas(scaler *autoscalingv2.HorizontalPodAutoscaler) int {
	return int(ptr.Deref(scaler.Spec.MinReplicas, 1)) // as the API defines it
}

// containers is all containers of the pods, those that run first included.
func (w workload) containers() iter.Seq[corev1.Container] {
	return slices.Values(slices.Concat(w.pod.Spec.InitContainers, w.pod.Spec.Containers))
}

// selected reports whether a selector in the namespace picks the workload's pods.
func (w workload) selected(namespace string, selector *metav1.LabelSelector) bool {
	picks, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && w.object.GetNamespace() == namespace && picks.Matches(labelset.Set(w.pod.Labels))
}

// behind reports whether a Service leads to the workload's pods.
func (w workload) behind(service *corev1.Service) bool {
	return len(service.Spec.Selector) > 0 &&
		w.selected(service.Namespace, &metav1.LabelSelector{MatchLabels: service.Spec.Selector})
}

// serves reports whether any Service leads to the workload's pods.
func (o objects) serves(w workload) bool {
	return slices.ContainsFunc(of[*corev1.Service](o), w.behind)
}

// each makes problems of what is wrong with each container.
func each(o objects, found found, wrong func(w workload, container corev1.Container) (wrong []string), fix string) {
	for _, w := range o.workloads() {
		for container := range w.containers() {
			for _, wrong := range wrong(w, container) {
				found(w.name, "container "+container.Name+": "+wrong, fix)
			}
		}
	}
}
