package rule

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
)

// mostSeries is about ten times the series of four services with two replicas on one node. A million series need about 4 GiB.
const mostSeries = 300_000

// prometheus are the alerts on Prometheus and Alertmanager.
func prometheus() Group {
	return Group{Name: "prometheus", Alerts: []Alert{
		{Name: "Watchdog", Severity: None, Expr: `label_replace(vector(1), "job", "prometheus", "", "")`,
			Summary:     "Alerts are delivered",
			Description: "Always fires and is sent to the dead man's switch. If the switch receives nothing, alerts are no longer delivered."},
		{Name: "ConfigReloadFailed", For: 2 * time.Minute, Severity: catalog.Ticket,
			Expr: `min by (job, instance) (prometheus_config_last_reload_successful) == 0
or min by (job, instance) (alertmanager_config_last_reload_successful) == 0`,
			Summary:     "{{ $labels.job }}: the new configuration is invalid",
			Description: "{{ $labels.job }} keeps using the previous configuration, and can't restart with the new one."},
		{Name: "RulesFailing", For: 2 * time.Minute, Severity: catalog.Ticket,
			Expr: `sum by (job, rule_group) (increase(prometheus_rule_evaluation_failures_total[5m])) > 0
or sum by (job, rule_group) (increase(prometheus_rule_group_iterations_missed_total[5m])) > 0`,
			Summary:     "{{ $labels.job }}: rules can't be evaluated",
			Description: "Rules of {{ $labels.rule_group }} failed or were skipped {{ $value | humanize }} times in five minutes. Their alerts don't fire."},
		{Name: "NotificationsFailing", For: 2 * time.Minute, Severity: catalog.Page,
			Expr: `sum by (job) (rate(prometheus_notifications_dropped_total[5m])) > 0
or max by (job) (prometheus_notifications_alertmanagers_discovered) < 1
or sum by (job) (rate(alertmanager_notifications_failed_total[5m])) > 0`,
			Summary:     "{{ $labels.job }}: alerts aren't delivered",
			Description: "{{ $labels.job }} can't send alerts. Other receivers may still work."},
		{Name: "PrometheusStorageFull", For: 30 * time.Minute, Severity: catalog.Ticket,
			Expr: `max by (job) (prometheus_tsdb_storage_blocks_bytes / (prometheus_tsdb_retention_limit_bytes > 0)) > 0.9
and on (job) (time() - max by (job) (prometheus_tsdb_lowest_timestamp_seconds)) < 30 * 24 * 3600`,
			Summary:     "{{ $labels.job }}: its storage holds less than 30 days",
			Description: "{{ $value | humanizePercentage }} of the storage of {{ $labels.job }} is used, and the oldest sample is younger than 30 days. Prometheus will delete old samples, so the objectives don't cover 30 days."},
		{Name: "PrometheusStorageFailing", Severity: catalog.Page, KeepFiring: 10 * time.Minute,
			Expr: `sum by (job) (increase(prometheus_tsdb_compactions_failed_total[3h])) > 0
or sum by (job) (increase(prometheus_tsdb_wal_writes_failed_total[15m])) > 0
or sum by (job) (increase(prometheus_tsdb_wal_corruptions_total[3h])) > 0`,
			Summary:     "{{ $labels.job }}: samples can't be stored",
			Description: "{{ $labels.job }} failed {{ $value | humanize }} times to write or compact samples. Samples are lost, and alerts may not fire."},
		{Name: "TooManySeries", For: 15 * time.Minute, Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`max by (job) (prometheus_tsdb_head_series) > %d`, mostSeries),
			Summary:     "{{ $labels.job }}: too many series",
			Description: "{{ $labels.job }} has {{ $value | humanize }} series. Each needs memory, and Kubernetes kills {{ $labels.job }} at its memory limit."},
	}}
}

// mostSamples is half of Prometheus' limit for one target, beyond which a scrape fails.
const mostSamples = 10_000

// targets are the alerts on scrape targets.
func targets(services []catalog.Service, ours string) Group {
	ready := fmt.Sprintf(`kube_pod_status_ready{%s, condition="true"} == 1`, ours)
	group := Group{Name: "targets", Alerts: []Alert{
		{Name: "TargetDown", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        "up == 0\nunless on (namespace, pod) " + ready,
			Summary:     "{{ $labels.job }}: {{ $labels.instance }} doesn't respond to Prometheus",
			Description: "Prometheus has had no metrics of {{ $labels.instance }} of {{ $labels.job }} for five minutes. Other alerts on it don't fire."},
		{
			// A refused connection and a response without metrics both have no samples. The pod's readiness distinguishes them.
			Name: "TargetServesGarbage", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr: "up == 0 and on (namespace, pod) " + ready + `
or up == 0 and on (job, instance) scrape_samples_scraped > 0
or up == 1 and on (job, instance) scrape_samples_scraped == 0`,
			Summary:     "{{ $labels.job }}: {{ $labels.instance }} serves no valid metrics",
			Description: "{{ $labels.instance }} of {{ $labels.job }} is ready, but Prometheus can't scrape it: it serves no metrics, invalid ones or too many, or the connection is blocked.",
		},
		{Name: "TargetTooLarge", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`max by (job) (scrape_samples_post_metric_relabeling) > %d`, mostSamples),
			Summary:     "{{ $labels.job }}: a target has too many series",
			Description: "A target of {{ $labels.job }} has {{ $value | humanize }} series. Prometheus accepts none of them beyond twice this alert's threshold."},
	}}
	jobs := always
	for _, service := range services {
		jobs = append(jobs[:len(jobs):len(jobs)], service.Name)
	}
	for _, job := range jobs {
		group.Alerts = append(group.Alerts, Alert{
			Name: "TargetMissing", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`absent(up{job="%s"})`, job),
			Labels:      map[string]string{"job": job},
			Summary:     "{{ $labels.job }}: Prometheus has no target",
			Description: "Prometheus has no target of {{ $labels.job }}: no pod runs, or Prometheus doesn't discover it. Alerts on it don't fire.",
		})
	}
	return group
}
