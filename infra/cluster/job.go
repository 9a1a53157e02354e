package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"platform.example/infra/namespace"
)

const (
	// commandLimit is the time limit of a command, including the start of its pod.
	commandLimit = time.Minute
	// commandPoll is the interval at which its Job is checked.
	commandPoll = 500 * time.Millisecond
)

// Command runs a subcommand of a service in a Job with the image, the permissions and the environment of one of its Deployments, plus
// variables. It returns the last line of the log and deletes the Job. If that fails, Kubernetes deletes the Job a minute later.
func (c *Cluster) Command(ctx context.Context, deployment, subcommand string, variables map[string]string) (line string, err error) {
	in := c.namespace(namespace.Apps)
	running, err := c.client.AppsV1().Deployments(in).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	job, err := c.client.BatchV1().Jobs(in).Create(ctx, commandJob(running, subcommand, variables), metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	name := job.Name
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = c.client.BatchV1().Jobs(in).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)})
	}()
	ended := wait.PollUntilContextTimeout(ctx, commandPoll, commandLimit, false, func(ctx context.Context) (bool, error) {
		found, err := c.client.BatchV1().Jobs(in).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, err
		}
		if err == nil { // otherwise retry
			job = found
		}
		return job.Status.Succeeded+job.Status.Failed > 0, nil
	})
	if ended != nil {
		err := fmt.Errorf("%s of %s: its result is unknown: %w", subcommand, deployment, ended)
		if cause := c.Cause(context.WithoutCancel(ctx), Workload{"Job", in, name, map[string]string{batchv1.JobNameLabel: name}}); cause != "" {
			err = fmt.Errorf("%w: %s", err, cause)
		}
		return "", err
	}
	pods, err := c.client.CoreV1().Pods(in).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
	if err == nil && len(pods.Items) > 0 {
		line = c.lastLine(ctx, pods.Items[0], subcommand, false)
	}
	if job.Status.Succeeded == 0 {
		return line, fmt.Errorf("%s of %s failed%s", subcommand, deployment, quoted(line))
	}
	return line, nil
}

// commandJob is the Job of a subcommand. No Service selects its pod. The NetworkPolicies of the service apply to it.
func commandJob(of *appsv1.Deployment, subcommand string, variables map[string]string) *batchv1.Job {
	template := *of.Spec.Template.DeepCopy()
	name := of.Name + "-" + subcommand
	template.Labels["app.kubernetes.io/name"] = name
	template.Annotations = nil // so that Prometheus doesn't scrape it
	template.Spec.RestartPolicy, template.Spec.TerminationGracePeriodSeconds = corev1.RestartPolicyNever, ptr.To[int64](1)
	container := template.Spec.Containers[0]
	container.Name, container.Args, container.Ports = subcommand, []string{subcommand}, nil
	container.StartupProbe, container.ReadinessProbe, container.LivenessProbe = nil, nil, nil
	for _, variable := range slices.Sorted(maps.Keys(variables)) {
		container.Env = append(container.Env, corev1.EnvVar{Name: variable, Value: strings.ReplaceAll(variables[variable], "$", "$$")})
	}
	template.Spec.Containers = []corev1.Container{container}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: name + "-", Labels: template.Labels,
			Annotations: map[string]string{namespace.StackAnnotation: of.Annotations[namespace.StackAnnotation]},
		},
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr.To[int32](0), ActiveDeadlineSeconds: ptr.To(int64(commandLimit.Seconds())),
			TTLSecondsAfterFinished: ptr.To(int32(commandLimit.Seconds())), Template: template,
		},
	}
}
