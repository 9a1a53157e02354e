package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Workload is what runs pods: a Deployment, a StatefulSet or a Job.
type Workload struct {
	Kind, Namespace, Name string
	Labels                map[string]string // of its pods
}

// Cause is why a workload isn't ready, in one sentence for people; empty where nothing is found.
func (c *Cluster) Cause(ctx context.Context, workload Workload) string {
	subject := fmt.Sprintf("%s %s/%s isn't ready: ", workload.Kind, workload.Namespace, workload.Name)
	pods, err := c.client.CoreV1().Pods(workload.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: labels.SelectorFromSet(workload.Labels).String()})
	if err != nil {
		return subject + "its pods can't be listed: " + err.Error()
	}
	// The latest is of the version that is being rolled out.
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

// podCause is what keeps a pod from being ready; empty where it is.
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
	waiting, ended := status.State.Waiting, status.State.Terminated
	if ended == nil {
		ended = status.LastTerminationState.Terminated
	}
	switch {
	case ended != nil && (ended.ExitCode != 0 || ended.Reason == "OOMKilled"):
		reason := fmt.Sprintf("exit code %d", ended.ExitCode)
		if ended.Reason == "OOMKilled" {
			reason = "it needed more memory than its limit"
		}
		return fmt.Sprintf("ended (%s)%s", reason, c.wordsOfEnded(ctx, pod, status, ended))
	case waiting != nil && strings.Contains(waiting.Reason, "Image"):
		return fmt.Sprintf("can't pull the image %s: %s", status.Image, sentence(waiting.Message))
	case waiting != nil && waiting.Message != "":
		return fmt.Sprintf("can't start (%s): %s", waiting.Reason, sentence(waiting.Message))
	case status.State.Running != nil && !status.Ready:
		return "runs but says that it isn't ready" + quoted(c.lastWords(ctx, pod, status.Name, false))
	default:
		return ""
	}
}

// wordsOfEnded is what a container said before it ended: what the kubelet has kept of it, or else its log, which may be the
// former one's by the time it is asked for.
func (c *Cluster) wordsOfEnded(
	ctx context.Context, pod corev1.Pod, status corev1.ContainerStatus, ended *corev1.ContainerStateTerminated,
) string {
	if lines := strings.Split(strings.TrimSpace(ended.Message), "\n"); lines[len(lines)-1] != "" {
		return quoted(sentence(lines[len(lines)-1]))
	}
	restarted := status.State.Terminated == nil
	words := c.lastWords(ctx, pod, status.Name, restarted)
	if words == "" {
		words = c.lastWords(ctx, pod, status.Name, !restarted)
	}
	return quoted(words)
}

func quoted(words string) string {
	if words == "" {
		return " without a word"
	}
	return ", its last words: " + words
}

// lastWords is the last line of a container's log; empty where there is none.
func (c *Cluster) lastWords(ctx context.Context, pod corev1.Pod, container string, previous bool) string {
	one, most := int64(1), int64(2000)
	log, err := c.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, TailLines: &one, LimitBytes: &most, Previous: previous,
	}).DoRaw(ctx)
	words := sentence(string(log))
	if err != nil || strings.HasPrefix(words, "unable to retrieve container logs") { // the kubelet's word for one that is gone
		return ""
	}
	return words
}

// refusal is why no pod could be made, such as a quota that is used up.
func (c *Cluster) refusal(ctx context.Context, workload Workload) string {
	events, err := c.client.CoreV1().Events(workload.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
	if err != nil {
		return ""
	}
	var latest corev1.Event
	for _, event := range events.Items {
		// A Deployment's pods are made by its ReplicaSet, whose name begins with its own.
		ours := event.InvolvedObject.Name == workload.Name || strings.HasPrefix(event.InvolvedObject.Name, workload.Name+"-")
		if ours && occurred(event).After(occurred(latest)) {
			latest = event
		}
	}
	return sentence(latest.Message)
}

func occurred(event corev1.Event) time.Time {
	if event.LastTimestamp.IsZero() {
		return event.EventTime.Time
	}
	return event.LastTimestamp.Time
}

// sentence is a text on one line.
func sentence(text string) string { return strings.Join(strings.Fields(text), " ") }
