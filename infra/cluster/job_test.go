package cluster

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/namespace"
)

func TestCommandJob(t *testing.T) {
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "user-service-blue", Annotations: map[string]string{namespace.StackAnnotation: "local"}},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{
				Labels:      map[string]string{"app.kubernetes.io/name": "user-service", "platform.example/of": "user-service"},
				Annotations: map[string]string{"prometheus.io/scrape": "true"},
			},
			Spec: corev1.PodSpec{ServiceAccountName: "user-service", Containers: []corev1.Container{{
				Name: "user-service", Image: "image", Command: []string{"/app"}, ReadinessProbe: &corev1.Probe{},
				EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}},
			}}},
		}},
	}
	job := commandJob(deployment, "admin", map[string]string{"ADMIN_EMAIL": "o'brien+$(HOME)@example.com"})
	pod := job.Spec.Template
	container := pod.Spec.Containers[0]
	if pod.Labels["app.kubernetes.io/name"] == "user-service" || pod.Labels["platform.example/of"] != "user-service" || len(pod.Annotations) > 0 {
		t.Errorf("the pod is labelled %v %v", pod.Labels, pod.Annotations)
	}
	if container.Image != "image" || strings.Join(append(container.Command, container.Args...), " ") != "/app admin" || len(container.EnvFrom) != 1 || container.ReadinessProbe != nil {
		t.Errorf("the container is %+v", container)
	}
	if got := container.Env[0].Value; got != "o'brien+$$(HOME)@example.com" {
		t.Errorf("Kubernetes expands %s", got)
	}
	if job.Annotations[namespace.StackAnnotation] != "local" || pod.Spec.RestartPolicy != corev1.RestartPolicyNever || *job.Spec.TTLSecondsAfterFinished == 0 {
		t.Errorf("the Job is %+v", job)
	}
	if deployment.Spec.Template.Labels["app.kubernetes.io/name"] != "user-service" || deployment.Spec.Template.Spec.Containers[0].ReadinessProbe == nil {
		t.Error("the Deployment has changed")
	}
}
