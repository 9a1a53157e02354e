package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Workload is a Deployment, a StatefulSet or a Job.
type Workload struct {
	Kind, Namespace, Name string
	Labels                map[string]string // of its pods
}

// Cause explains in one sentence why a workload isn't ready. It is empty if no cause is found.
func (c *Cluster) Cause(ctx context.Context, workload Workload) string {
	subject := fmt.Sprintf("%s %s/%s isn't ready: ", workload.Kind, workload.Namespace, workload.Name)
	pods, err := c.client.CoreV1().Pods(workload.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(workload.Labels).String()})
	if err != nil {
		return subject + "can't list its pods: " + err.Error()
	}
	// The latest pod belongs to the new version.
	slices.SortStableFunc(pods.Items, func(a, b corev1.Pod) int {
		return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
	})
	for _, pod := range pods.Items {
		if why := c.podCause(ctx, pod); why != "" {
			return subject + fmt.Sprintf("pod %s ", pod.Name) + why
		}
	}
	if why := c.refusal(ctx, workload); why != "" {
		return subject + "its pods are refused: " + why
	}
	return ""
}

// podCause explains why a pod isn't ready. It is empty if the pod is ready.
func (c *Cluster) podCause(ctx context.Context, pod corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		switch {
		case condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue:
			return ""
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse:
			return "finds no node: " + sentence(condition.Message)
		}
	}
	statuses := append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...)
	for _, status := range statuses {
		if why := c.containerCause(ctx, pod, status); why != "" {
			return why
		}
	}
	return ""
}

func (c *Cluster) containerCause(ctx context.Context, pod corev1.Pod, status corev1.ContainerStatus) string {
	waiting, ended := status.State.Waiting, cmp.Or(status.State.Terminated, status.LastTerminationState.Terminated)
	switch {
	case ended != nil && (ended.ExitCode != 0 || ended.Reason == "OOMKilled"):
		reason := fmt.Sprintf("exit code %d", ended.ExitCode)
		if ended.Reason == "OOMKilled" {
			reason = "out of memory: it exceeded its limit"
		}
		return fmt.Sprintf("ended (%s)%s", reason, c.lastLineOfEnded(ctx, pod, status, ended))
	case waiting != nil && strings.Contains(waiting.Reason, "Image"):
		return fmt.Sprintf("can't pull the image %s: %s", status.Image, sentence(waiting.Message))
	case waiting != nil && waiting.Message != "":
		return fmt.Sprintf("can't start (%s): %s", waiting.Reason, sentence(waiting.Message))
	case status.State.Running != nil && !status.Ready:
		return "runs but isn't ready" + quoted(c.lastLine(ctx, pod, status.Name, false))
	default:
		return ""
	}
}

// lastLineOfEnded is the last line of a container that ended, from its termination message or else from its log. The container may
// have restarted meanwhile, so the line may be in the log of the previous one.
func (c *Cluster) lastLineOfEnded(
	ctx context.Context, pod corev1.Pod, status corev1.ContainerStatus, ended *corev1.ContainerStateTerminated,
) string {
	if lines := strings.Split(strings.TrimSpace(ended.Message), "\n"); lines[len(lines)-1] != "" {
		return quoted(sentence(lines[len(lines)-1]))
	}
	restarted := status.State.Terminated == nil
	return quoted(cmp.Or(c.lastLine(ctx, pod, status.Name, restarted), c.lastLine(ctx, pod, status.Name, !restarted)))
}

func quoted(line string) string {
	if line == "" {
		return " without a log line"
	}
	return ", its last log line: " + line
}

// lastLine is the last line of a container's log, or empty.
func (c *Cluster) lastLine(ctx context.Context, pod corev1.Pod, container string, previous bool) string {
	log, err := c.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, TailLines: new(int64(1)), LimitBytes: new(int64(2000)), Previous: previous,
	}).DoRaw(ctx)
	line := sentence(string(log))
	if err != nil || strings.HasPrefix(line, "unable to retrieve container logs") { // by the kubelet, for a deleted container
		return ""
	}
	return line
}

// refusal explains why no pod was created, such as an exhausted quota.
func (c *Cluster) refusal(ctx context.Context, workload Workload) string {
	events, err := c.client.CoreV1().Events(workload.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
	if err != nil {
		return ""
	}
	var latest corev1.Event
	for _, event := range events.Items {
		// A Deployment's pods are created by its ReplicaSet, whose name begins with the Deployment's.
		ours := event.InvolvedObject.Name == workload.Name || strings.HasPrefix(event.InvolvedObject.Name, workload.Name+"-")
		if ours && occurred(event).After(occurred(latest)) {
			latest = event
		}
	}
	return sentence(latest.Message)
}

func occurred(event corev1.Event) time.Time {
	return cmp.Or(event.LastTimestamp.Time, event.EventTime.Time)
}

// sentence joins a text into one line.
func sentence(text string) string { return strings.Join(strings.Fields(text), " ") }
