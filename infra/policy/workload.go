package policy

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	labelset "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"platform.example/infra/objectref"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// appLabel is a label of workloads and their pods.
const appLabel = "app.kubernetes.io/name"

// workload is an object with pods.
type workload struct {
	object   typed
	name     string // in findings
	pod      corev1.PodTemplateSpec
	job      *batchv1.JobSpec // nil if it isn't a Job
	replicas *int32           // nil if not set
}

func (o objects) workloads() []workload {
	var found []workload
	for _, object := range o.all {
		w := workload{object: object, name: nameOf(object)}
		switch object := object.(type) {
		case *appsv1.Deployment:
			w.pod, w.replicas = object.Spec.Template, object.Spec.Replicas
		case *appsv1.StatefulSet:
			w.pod, w.replicas = object.Spec.Template, object.Spec.Replicas
		case *appsv1.DaemonSet:
			w.pod = object.Spec.Template
		case *batchv1.Job:
			w.pod, w.job = object.Spec.Template, &object.Spec
		case *batchv1.CronJob:
			w.pod, w.job = object.Spec.JobTemplate.Spec.Template, &object.Spec.JobTemplate.Spec
		default:
			continue
		}
		found = append(found, w)
	}
	return found
}

// servers returns the workloads except for Jobs.
func (o objects) servers() []workload {
	return slices.DeleteFunc(o.workloads(), func(w workload) bool { return w.job != nil })
}

// replicated returns the workloads that may have more than one replica.
func (o objects) replicated() []workload {
	return slices.DeleteFunc(o.servers(), func(w workload) bool {
		_, most := o.bounds(w)
		return most < 2
	})
}

// bounds returns the minimum and the maximum number of a workload's replicas.
func (o objects) bounds(w workload) (least, most int) {
	for _, scaler := range of[*autoscalingv2.HorizontalPodAutoscaler](o) {
		target := objectref.Ref{Kind: scaler.Spec.ScaleTargetRef.Kind, Namespace: scaler.Namespace, Name: scaler.Spec.ScaleTargetRef.Name}
		if target.String() == w.name {
			return int(ptr.Deref(scaler.Spec.MinReplicas, 1)), int(scaler.Spec.MaxReplicas) // 1 is the API's default
		}
	}
	replicas := int(ptr.Deref(w.replicas, 1))
	return replicas, replicas
}

// instances are the pods of a Cluster or a Pooler of CloudNativePG, which its operator creates.
type instances struct {
	name, image string
	number      int
	requests    corev1.ResourceList
}

func (o objects) instances() []instances {
	var found []instances
	for _, custom := range of[*unstructured.Unstructured](o) {
		var read struct {
			Spec struct {
				Instances int                         `json:"instances"`
				ImageName string                      `json:"imageName"`
				Resources corev1.ResourceRequirements `json:"resources"`
				PgBouncer struct {
					Image string `json:"image"`
				} `json:"pgbouncer"`
				Template corev1.PodTemplateSpec `json:"template"`
			} `json:"spec"`
		}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(custom.Object, &read) != nil {
			continue
		}
		switch spec := read.Spec; custom.GetKind() {
		case "Cluster":
			found = append(found, instances{nameOf(custom), spec.ImageName, spec.Instances, spec.Resources.Requests})
		case "Pooler":
			for _, container := range spec.Template.Spec.Containers {
				found = append(found, instances{nameOf(custom), spec.PgBouncer.Image, spec.Instances, container.Resources.Requests})
			}
		}
	}
	return found
}

// Requests returns the CPU and the memory that all replicas request, with the minimum of an autoscaler. A DaemonSet counts once.
func Requests(environment stack.Environment, manifests []Object) (cpu quantity.CPU, memory quantity.Bytes) {
	o := readAll(environment, manifests)
	for _, w := range o.servers() {
		replicas, _ := o.bounds(w)
		for _, container := range w.pod.Spec.Containers {
			requests := container.Resources.Requests
			cpu += quantity.CPU(replicas * int(requests.Cpu().MilliValue()))
			memory += quantity.Bytes(replicas * int(requests.Memory().Value()>>20))
		}
	}
	for _, instances := range o.instances() {
		cpu += quantity.CPU(instances.number * int(instances.requests.Cpu().MilliValue()))
		memory += quantity.Bytes(instances.number * int(instances.requests.Memory().Value()>>20))
	}
	return cpu, memory
}

// selected reports whether a selector in the namespace selects the workload's pods.
func (w workload) selected(namespace string, selector *metav1.LabelSelector) bool {
	if w.object.GetNamespace() != namespace {
		return false // parsing a selector is slow
	}
	picks, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && picks.Matches(labelset.Set(w.pod.Labels))
}

// behind reports whether a Service selects the workload's pods, or one of them by its name.
func (w workload) behind(service *corev1.Service) bool {
	selector := maps.Clone(service.Spec.Selector)
	delete(selector, appsv1.StatefulSetPodNameLabel)
	return len(selector) > 0 && w.selected(service.Namespace, &metav1.LabelSelector{MatchLabels: selector})
}

// each reports the faults of all containers, including init containers.
func each(o objects, found found, wrong func(w workload, container corev1.Container) (wrong []string), fix string) {
	for _, w := range o.workloads() {
		for _, container := range slices.Concat(w.pod.Spec.InitContainers, w.pod.Spec.Containers) {
			for _, wrong := range wrong(w, container) {
				found(w.name, "container "+container.Name+": "+wrong, fix)
			}
		}
	}
}
