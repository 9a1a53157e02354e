package rule

import (
	"fmt"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// workloads are the alerts on pods and their Deployments, StatefulSets, DaemonSets and Jobs.
func workloads(ours string) Group {
	short := func(of func(expr, label string) string, missing, label string) Alert {
		return Alert{
			Name: "ReplicasShort", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        of(strings.ReplaceAll(missing, "ours", ours)+" > 0", label),
			Labels:      map[string]string{"kind": label},
			Summary:     "{{ $labels.job }}: {{ $value }} replicas are missing",
			Description: "{{ $labels." + label + " }} in {{ $labels.namespace }} has lacked {{ $value }} replicas for ten minutes. It has less spare capacity than configured.",
		}
	}
	return Group{Name: "workloads", Alerts: []Alert{
		{Name: "PodCrashLooping", Severity: catalog.Ticket, KeepFiring: 5 * time.Minute,
			Expr: ofPod(fmt.Sprintf(`sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{%s}[15m])) > 2.5`, ours), ours) + "\nor " +
				ofPod(fmt.Sprintf(`max by (namespace, pod, container) (max_over_time(kube_pod_container_status_waiting_reason{%s, reason="CrashLoopBackOff"}[5m])) > 0`, ours), ours),
			Summary:     "{{ $labels.job }}: {{ $labels.pod }} is crash looping",
			Description: "Container {{ $labels.container }} of {{ $labels.pod }} in {{ $labels.namespace }} exits soon after each start."},
		{Name: "PodOutOfMemory", Severity: catalog.Ticket, KeepFiring: 15 * time.Minute,
			Expr: ofPod(fmt.Sprintf(`max by (namespace, pod, container) (kube_pod_container_status_last_terminated_reason{%s, reason="OOMKilled"}) == 1
  and on (namespace, pod, container) sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{%s}[15m])) > 0
or sum by (namespace, pod, container) (increase(container_oom_events_total{%[1]s, container!=""}[15m])) > 0`, ours, ours), ours),
			Summary:     "{{ $labels.job }}: {{ $labels.pod }} ran out of memory",
			Description: "Container {{ $labels.container }} of {{ $labels.pod }} in {{ $labels.namespace }} exceeded its memory limit and was killed. Its requests in flight are lost."},
		short(ofWorkload, "kube_deployment_spec_replicas{ours} - kube_deployment_status_replicas_available{ours}", "deployment"),
		short(ofWorkload, "kube_statefulset_replicas{ours} - kube_statefulset_status_replicas_ready{ours}", "statefulset"),
		short(ofWorkload, "kube_daemonset_status_desired_number_scheduled{ours} - kube_daemonset_status_number_ready{ours}", "daemonset"),
		short(ofInstance, `1 - max without (condition) (kube_pod_status_ready{ours, condition="true", pod=~"postgres-[0-9]+-[0-9]+"})`, "pod"), // of the operator
		{Name: "AutoscalerAtLimit", For: 15 * time.Minute, Severity: catalog.Ticket,
			Expr: ofWorkload(strings.ReplaceAll(`kube_horizontalpodautoscaler_status_desired_replicas{ours} >= kube_horizontalpodautoscaler_spec_max_replicas{ours}
  and kube_horizontalpodautoscaler_spec_max_replicas{ours} > kube_horizontalpodautoscaler_spec_min_replicas{ours}`, "ours", ours), "horizontalpodautoscaler"),
			Summary:     "{{ $labels.job }}: the autoscaler is at its maximum",
			Description: "{{ $labels.horizontalpodautoscaler }} has requested {{ $value }} replicas, its maximum, for 15 minutes. More load makes the service slower."},
		{Name: "AutoscalerInactive", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr: ofWorkload(fmt.Sprintf(`max by (namespace, horizontalpodautoscaler) (kube_horizontalpodautoscaler_status_condition{%s, condition="ScalingActive", status="false"}) == 1
  and on (namespace, horizontalpodautoscaler) kube_horizontalpodautoscaler_status_current_replicas{%[1]s} > 0`, ours), "horizontalpodautoscaler"),
			Summary:     "{{ $labels.job }}: the autoscaler doesn't scale",
			Description: "{{ $labels.horizontalpodautoscaler }} gets no metrics of its pods, so it doesn't react to load."},
		{Name: "JobFailed", Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`label_replace(kube_job_failed{%s, condition="true"} == 1, "job", "$1", "job_name", "(.+)")`, ours),
			Summary:     "{{ $labels.job_name }}: the Job has failed",
			Description: "Job {{ $labels.job_name }} in {{ $labels.namespace }} has failed and has no retries left. A migration or the users of a store may be incomplete."},
	}}
}

// fills matches volumes that will be full within a day, both at the rate of the last six hours and at that of the last hour: a
// burst that has ended, such as an installation, isn't a trend. It needs six hours of history.
func fills(free, by string) string {
	return fmt.Sprintf(`(min by (%[2]s) (predict_linear(%[1]s[6h], 24 * 3600)) < 0
  and on (%[2]s) min by (%[2]s) (predict_linear(%[1]s[1h], 24 * 3600)) < 0
  and on (%[2]s) min by (%[2]s) (%[1]s offset 6h))`, free, by)
}

// storage are the alerts on volumes. A volume as large as its node's disk is on that disk, whose alerts suffice.
func storage(ours string) Group {
	const claim = "job, namespace, persistentvolumeclaim"
	bytes := fmt.Sprintf(`kubelet_volume_stats_available_bytes{%s}`, ours)
	free := fmt.Sprintf(`min by (%s) (%s / (kubelet_volume_stats_capacity_bytes
  unless kubelet_volume_stats_capacity_bytes == on (node) group_left () max by (node) (node_filesystem_size_bytes{mountpoint="/node"})))`, claim, bytes)
	return Group{Name: "storage", Alerts: []Alert{
		{Name: "VolumeFilling", For: 30 * time.Minute, Severity: catalog.Ticket,
			Expr:        ofInstance(free+` < 0.4 and on (`+claim+`) `+fills(bytes, claim), "persistentvolumeclaim"),
			Summary:     "{{ $labels.job }}: volume {{ $labels.persistentvolumeclaim }} will be full within a day",
			Description: "{{ $value | humanizePercentage }} of {{ $labels.persistentvolumeclaim }} in {{ $labels.namespace }} is free. At the rate of the last six hours it will be full within a day."},
		{Name: "VolumeFull", For: time.Minute, Severity: catalog.Page,
			Expr:        ofInstance(free+` < 0.05`, "persistentvolumeclaim"),
			Summary:     "{{ $labels.job }}: volume {{ $labels.persistentvolumeclaim }} is full",
			Description: "{{ $value | humanizePercentage }} of {{ $labels.persistentvolumeclaim }} in {{ $labels.namespace }} is free. Its server will soon be unable to write."},
	}}
}

const (
	day = 24 * time.Hour

	// certificateTicket is less than the 30 days before expiry at which a certificate of 90 days is renewed, so that an automatic
	// renewal raises no alert. certificatePage is too short to wait for the end of a weekend.
	certificateTicket = 21 * day
	certificatePage   = 3 * day
)

// certificates are the alerts on certificates that expire. Traefik has a metric of its certificate. The stores have none, but each time
// the CronJob that renews certificates succeeds, each of them is valid for at least another third of its duration.
func certificates(ours string, authority time.Time, duration time.Duration) Group {
	const expires, authorityJob = "job:certificate_not_after:timestamp_seconds", "certificate-authority"
	renewal := duration / 3
	cronJob := fmt.Sprintf(`{%s, cronjob="%s"}`, ours, network.Certificates)
	group := Group{Name: "certificates", Records: []Record{{
		// Traefik keeps the metric of a replaced certificate. Its default certificate isn't used.
		Name: expires, Expr: fmt.Sprintf(
			`min by (job) (max by (job, pod, cn, sans) (traefik_tls_certs_not_after{job="%s", cn!="TRAEFIK DEFAULT CERT"}))`, network.Edge),
	}, {
		Name: expires, Labels: map[string]string{"job": network.Certificates},
		Expr: fmt.Sprintf(`max(kube_cronjob_status_last_successful_time%s or kube_cronjob_created%[1]s) + %d`, cronJob, int(renewal.Seconds())),
	}}}
	if !authority.IsZero() {
		group.Records = append(group.Records, Record{
			Name: expires, Expr: fmt.Sprintf("vector(%d)", authority.Unix()), Labels: map[string]string{"job": authorityJob},
		})
	}
	for _, at := range []struct {
		severity         catalog.Severity
		authority, other time.Duration // remaining
	}{
		{catalog.Page, certificatePage, min(certificatePage, renewal/10)},
		{catalog.Ticket, certificateTicket, min(certificateTicket, renewal*7/10)},
	} {
		group.Alerts = append(group.Alerts, Alert{
			Name: "CertificateEnds", For: 5 * time.Minute, Severity: at.severity,
			Expr: fmt.Sprintf(`%[1]s{job="%[2]s"} - time() < %[3]d or %[1]s{job!="%[2]s"} - time() < %[4]d`,
				expires, authorityJob, int(at.authority.Seconds()), int(at.other.Seconds())),
			Summary:     "{{ $labels.job }}: the certificate expires soon",
			Description: "The certificate of {{ $labels.job }} expires in {{ $value | humanizeDuration }}. Clients that verify it can't connect after that.",
		})
	}
	return group
}
