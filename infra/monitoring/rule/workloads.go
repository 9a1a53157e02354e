package rule

import (
	"fmt"
	"strings"
	"time"

	"platform.example/infra/catalog"
)

// workloads is what breaks below a Deployment, a StatefulSet, a DaemonSet or a Job.
func workloads(ours string) Group {
	short := func(ready, wanted, label string) Alert {
		return Alert{
			Name: "ReplicasShort", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        ofWorkload(fmt.Sprintf("%s{%s} - %s{%s} > 0", wanted, ours, ready, ours), label),
			Labels:      map[string]string{"kind": label},
			Summary:     "{{ $labels.job }}: {{ $value }} replicas are missing",
			Description: "{{ $labels." + label + " }} in {{ $labels.namespace }} has been {{ $value }} replicas short for ten minutes. It has less in reserve than it should.",
		}
	}
	return Group{Name: "workloads", Alerts: []Alert{
		{
			Name: "PodCrashLooping", Severity: catalog.Ticket, KeepFiring: 5 * time.Minute,
			Expr: ofPod(fmt.Sprintf(`sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{%s}[15m])) > 2.5`, ours), ours) + "\nor " +
				ofPod(fmt.Sprintf(`max by (namespace, pod, container) (max_over_time(kube_pod_container_status_waiting_reason{%s, reason="CrashLoopBackOff"}[5m])) > 0`, ours), ours),
			Summary:     "{{ $labels.job }}: {{ $labels.pod }} crashes again and again",
			Description: "Container {{ $labels.container }} of {{ $labels.pod }} in {{ $labels.namespace }} ends soon after each start.",
		},
		{
			Name: "PodOutOfMemory", Severity: catalog.Ticket, KeepFiring: 15 * time.Minute,
			Expr: ofPod(fmt.Sprintf(`max by (namespace, pod, container) (kube_pod_container_status_last_terminated_reason{%s, reason="OOMKilled"}) == 1
  and on (namespace, pod, container) sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{%s}[15m])) > 0`, ours, ours), ours),
			Summary:     "{{ $labels.job }}: {{ $labels.pod }} was killed for want of memory",
			Description: "Container {{ $labels.container }} of {{ $labels.pod }} in {{ $labels.namespace }} went beyond its memory limit and was killed. What it had in hand is lost.",
		},
		short("kube_deployment_status_replicas_available", "kube_deployment_spec_replicas", "deployment"),
		short("kube_statefulset_status_replicas_ready", "kube_statefulset_replicas", "statefulset"),
		short("kube_daemonset_status_number_ready", "kube_daemonset_status_desired_number_scheduled", "daemonset"),
		{
			Name: "AutoscalerAtLimit", For: 15 * time.Minute, Severity: catalog.Ticket,
			Expr: ofWorkload(strings.ReplaceAll(`kube_horizontalpodautoscaler_status_desired_replicas{ours} >= kube_horizontalpodautoscaler_spec_max_replicas{ours}
  and kube_horizontalpodautoscaler_spec_max_replicas{ours} > kube_horizontalpodautoscaler_spec_min_replicas{ours}`, "ours", ours), "horizontalpodautoscaler"),
			Summary:     "{{ $labels.job }}: as many replicas as there may be",
			Description: "{{ $labels.horizontalpodautoscaler }} has wanted {{ $value }} replicas, its maximum, for a quarter of an hour. More load makes it slower.",
		},
		{
			Name: "JobFailed", Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`label_replace(kube_job_failed{%s, condition="true"} == 1, "job", "$1", "job_name", "(.+)")`, ours),
			Summary:     "{{ $labels.job_name }}: the Job has failed",
			Description: "Job {{ $labels.job_name }} in {{ $labels.namespace }} was tried as often as it may be. A migration or the users of a store aren't what they should be.",
		},
	}}
}
