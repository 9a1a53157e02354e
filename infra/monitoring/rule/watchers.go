package rule

import (
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
)

// seriesPerMiB is three quarters of the series for which Prometheus has memory: a million need about 4 GiB.
const seriesPerMiB = 180

// prometheus are the alerts on Prometheus, which has this much memory, and Alertmanager.
func prometheus(memory quantity.Bytes) Group {
	return Group{Name: "prometheus", Alerts: []Alert{
		{Name: "Watchdog", Severity: None, Expr: `label_replace(vector(1), "job", "prometheus", "", "")`,
			Summary:     "Alerts are delivered",
			Description: "Always fires and is sent to the dead man's switch. If the switch receives nothing, alerts are no longer delivered."},
		{Name: "ConfigReloadFailed", For: 2 * time.Minute, Severity: catalog.Ticket,
			Expr: `min by (job, instance) (prometheus_config_last_reload_successful) == 0
or min by (job, instance) (alertmanager_config_last_reload_successful) == 0`,
			Summary:     "{{ $labels.job }}: the new configuration is invalid",
			Description: "{{ $labels.job }} keeps using the previous configuration, and can't restart with the new one."},
		{Name: "DiscoveryFailing", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        `sum by (job) (increase(prometheus_sd_kubernetes_failures_total[10m])) > 5`,
			Summary:     "{{ $labels.job }}: targets can't be discovered",
			Description: "{{ $value | humanize }} requests of {{ $labels.job }} to the API server failed within ten minutes. It doesn't scrape new pods."},
		{Name: "RulesFailing", For: 2 * time.Minute, Severity: catalog.Ticket,
			// After a pause, the samples of five minutes don't show how many iterations were missed.
			Expr: `sum by (job, rule_group) (increase(prometheus_rule_evaluation_failures_total[5m])) > 0
or sum by (job, rule_group) (increase(prometheus_rule_group_iterations_missed_total[1h])) > 10`,
			Summary:     "{{ $labels.job }}: rules can't be evaluated",
			Description: "Rules of {{ $labels.rule_group }} failed in the last five minutes, or were skipped in the last hour, {{ $value | humanize }} times. Their alerts don't fire meanwhile."},
		{Name: "NotificationsFailing", For: 2 * time.Minute, Severity: catalog.Page,
			// A restart of Alertmanager and a single failure of a receiver are no outage: Alertmanager sends a page again after a minute.
			Expr: `max by (job) (changes(prometheus_notifications_dropped_total[5m])) > 3
or min by (job) (prometheus_notifications_alertmanagers_discovered) < 1
or max by (job) (changes(alertmanager_notifications_failed_total[15m])) > 1`,
			Summary:     "{{ $labels.job }}: alerts aren't delivered",
			Description: "{{ $labels.job }} can't send alerts. Other receivers may still work."},
		{Name: "AlertmanagerSplit", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        `min by (job) (alertmanager_cluster_members) < on (job) count by (job) (up{job="alertmanager"} == 1)`,
			Summary:     "{{ $labels.job }}: the replicas don't reach each other",
			Description: "A replica of {{ $labels.job }} reaches only {{ $value }} replicas, itself included. People get notifications twice, and a silence doesn't apply to both."},
		{Name: "PrometheusStorageFull", For: 30 * time.Minute, Severity: catalog.Ticket,
			// The limit also counts the write-ahead log and the chunks of the head.
			Expr: `max by (job) ((prometheus_tsdb_storage_blocks_bytes + prometheus_tsdb_wal_storage_size_bytes + prometheus_tsdb_head_chunks_storage_size_bytes) / (prometheus_tsdb_retention_limit_bytes > 0)) > 0.9
and on (job) (time() - max by (job) (prometheus_tsdb_lowest_timestamp_seconds)) < 30 * 24 * 3600`,
			Summary:     "{{ $labels.job }}: its storage holds less than 30 days",
			Description: "{{ $value | humanizePercentage }} of the storage of {{ $labels.job }} is used, and the oldest sample is younger than 30 days. Prometheus will delete old samples, so the objectives don't cover 30 days."},
		{Name: "PrometheusStorageFailing", For: time.Minute, Severity: catalog.Page, KeepFiring: 10 * time.Minute,
			// Prometheus compacts again every minute, and writes all the time: one failure is no outage. If no write succeeds, it has no
			// sample of itself either.
			Expr: `max by (job) (changes(prometheus_tsdb_compactions_failed_total[1h])) > 2
or max by (job) (changes(prometheus_tsdb_wal_writes_failed_total[15m])) > 2
or absent_over_time(up{job="prometheus"}[1m])`,
			Summary:     "{{ $labels.job }}: samples can't be stored",
			Description: "{{ $labels.job }} can't write or compact samples. Samples are lost, and other alerts may not fire."},
		{Name: "TooManySeries", For: 15 * time.Minute, Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`max by (job) (prometheus_tsdb_head_series) > %d`, int(memory)*seriesPerMiB),
			Summary:     "{{ $labels.job }}: too many series",
			Description: "{{ $labels.job }} has {{ $value | humanize }} series. Each needs memory, and Kubernetes kills {{ $labels.job }} at its memory limit."},
	}}
}

// targets are the alerts on scrape targets.
func targets(services []catalog.Service) Group {
	group := Group{Name: "targets", Alerts: []Alert{
		{Name: "TargetDown", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr: `up{job!="` + Probe + `"} == 0
  unless on (node) (kube_node_spec_unschedulable == 1 and on (node) kube_node_status_condition{condition="Ready", status="true"} == 0)
or up == 1 and on (job, instance) scrape_samples_scraped == 0`,
			Summary:     "{{ $labels.job }}: {{ $labels.instance }} doesn't serve its metrics",
			Description: "Prometheus has had no valid metrics of {{ $labels.instance }} of {{ $labels.job }} for five minutes. Other alerts on it don't fire."},
		{Name: "TargetTooLarge", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        `max by (job) (scrape_samples_post_metric_relabeling) > 10000`, // half of the limit, beyond which a scrape fails
			Summary:     "{{ $labels.job }}: a target has too many series",
			Description: "A target of {{ $labels.job }} has {{ $value | humanize }} series. Prometheus accepts none of them beyond twice this alert's threshold."},
	}}
	for _, job := range slices.Concat(always, slice.Map(services, func(service catalog.Service) string { return service.Name })) {
		group.Alerts = append(group.Alerts, Alert{
			Name: "TargetMissing", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`absent(up{job="%s"}) and on () count(up)`, job),
			Labels:      map[string]string{"job": job},
			Summary:     "{{ $labels.job }}: Prometheus has no target",
			Description: "Prometheus has no target of {{ $labels.job }}: no pod runs, or Prometheus doesn't discover it. Alerts on it don't fire.",
		})
	}
	return group
}

// controlPlane are the alerts on the API server, etcd and DNS.
func controlPlane() Group {
	return Group{Name: "control-plane", Alerts: []Alert{
		{Name: "DnsErrors", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr: `sum by (job) (rate(coredns_dns_responses_total{rcode="SERVFAIL"}[5m])) / sum by (job) (rate(coredns_dns_responses_total[5m])) > 0.05
or sum by (job) (increase(coredns_panics_total[10m])) > 0`,
			Summary:     "coredns: DNS queries fail",
			Description: "CoreDNS returns SERVFAIL to more than 5 % of the queries, or panics: {{ $value | humanize }}."},
		{Name: "ApiServerErrors", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        `sum by (job) (rate(apiserver_request_total{code=~"5.."}[5m])) / sum by (job) (rate(apiserver_request_total[5m])) > 0.05`,
			Summary:     "apiserver: requests fail",
			Description: "{{ $value | humanizePercentage }} of the requests to the API server return 5xx. Releases, autoscaling and the replacement of pods may fail."},
		{Name: "EtcdLarge", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        `max by (job) (apiserver_storage_size_bytes) > 768 * 2^20`, // three quarters of the local platform's quota
			Summary:     "apiserver: etcd's database is large",
			Description: "etcd's database has {{ $value | humanize }} bytes. At etcd's quota, by default 2 GiB, the cluster can't be changed any more."},
		{Name: "ClientCertificateEnds", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        `histogram_quantile(0.01, sum by (job, le) (rate(apiserver_client_certificate_expiration_seconds_bucket[10m]))) < 7 * 24 * 3600`,
			Summary:     "apiserver: a client's certificate expires soon",
			Description: "A client of the API server, such as a kubelet or the controller manager, has a certificate that expires in {{ $value | humanizeDuration }}."},
	}}
}
