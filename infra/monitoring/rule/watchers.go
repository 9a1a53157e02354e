package rule

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
)

// mostSeries is some ten times what four services of two replicas each make on one node. A million need about 4 GiB.
const mostSeries = 300_000

// prometheus is what watches the watchers.
func prometheus() Group {
	return Group{Name: "prometheus", Alerts: []Alert{
		{
			Name: "Watchdog", Severity: None, Expr: `label_replace(vector(1), "job", "prometheus", "", "")`,
			Summary:     "Alerts get through",
			Description: "Fires always, and is sent to the dead man's switch. When that hears nothing, alerts no longer get through.",
		},
		{
			Name: "ConfigReloadFailed", For: 2 * time.Minute, Severity: catalog.Ticket,
			Expr: `min by (job, instance) (prometheus_config_last_reload_successful) == 0
or min by (job, instance) (alertmanager_config_last_reload_successful) == 0`,
			Summary:     "{{ $labels.job }}: its new configuration is refused",
			Description: "{{ $labels.job }} goes on with the former configuration, and won't start with the new one.",
		},
		{
			Name: "RulesFailing", For: 2 * time.Minute, Severity: catalog.Ticket,
			Expr: `sum by (job, rule_group) (increase(prometheus_rule_evaluation_failures_total[5m])) > 0
or sum by (job, rule_group) (increase(prometheus_rule_group_iterations_missed_total[5m])) > 0`,
			Summary:     "{{ $labels.job }}: rules can't be evaluated",
			Description: "Rules of {{ $labels.rule_group }} failed or were left out {{ $value | humanize }} times in five minutes. Their alerts don't fire.",
		},
		{
			Name: "NotificationsFailing", For: 2 * time.Minute, Severity: catalog.Page,
			Expr: `sum by (job) (rate(prometheus_notifications_dropped_total[5m])) > 0
or max by (job) (prometheus_notifications_alertmanagers_discovered) < 1
or sum by (job) (rate(alertmanager_notifications_failed_total[5m])) > 0`,
			Summary:     "{{ $labels.job }}: alerts don't reach people",
			Description: "{{ $labels.job }} can't pass alerts on. Other ways that are set up may still work.",
		},
		{
			Name: "PrometheusStorageFull", For: 30 * time.Minute, Severity: catalog.Ticket,
			Expr: `max by (job) (prometheus_tsdb_storage_blocks_bytes / (prometheus_tsdb_retention_limit_bytes > 0)) > 0.9
and on (job) (time() - max by (job) (prometheus_tsdb_lowest_timestamp_seconds)) < 30 * 24 * 3600`,
			Summary:     "{{ $labels.job }}: its storage holds less than 30 days",
			Description: "{{ $value | humanizePercentage }} of what {{ $labels.job }} may store is used, and the oldest sample is younger than 30 days: old ones are about to be dropped, and the objectives' window is no longer whole.",
		},
		{
			Name: "PrometheusStorageFailing", Severity: catalog.Page, KeepFiring: 10 * time.Minute,
			Expr: `sum by (job) (increase(prometheus_tsdb_compactions_failed_total[3h])) > 0
or sum by (job) (increase(prometheus_tsdb_wal_writes_failed_total[15m])) > 0
or sum by (job) (increase(prometheus_tsdb_wal_corruptions_total[3h])) > 0`,
			Summary:     "{{ $labels.job }}: it can't keep what it gathers",
			Description: "{{ $labels.job }} failed {{ $value | humanize }} times to write or to compact. Samples are being lost, and with them alerts.",
		},
		{
			Name: "TooManySeries", For: 15 * time.Minute, Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`max by (job) (prometheus_tsdb_head_series) > %d`, mostSeries),
			Summary:     "{{ $labels.job }}: too many series",
			Description: "{{ $labels.job }} holds {{ $value | humanize }} series. It needs memory for each, and is killed when that is used up.",
		},
	}}
}

// mostSamples is half of what Prometheus takes of one target before it takes nothing.
const mostSamples = 10_000

// targets is whom Prometheus asks: that they are there, that they answer, and that what they answer is metrics.
func targets(services []catalog.Service, ours string) Group {
	ready := fmt.Sprintf(`kube_pod_status_ready{%s, condition="true"} == 1`, ours)
	group := Group{Name: "targets", Alerts: []Alert{
		{
			Name: "TargetDown", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        "up == 0\nunless on (namespace, pod) " + ready,
			Summary:     "{{ $labels.job }}: {{ $labels.instance }} doesn't answer Prometheus",
			Description: "Prometheus has got no metrics of {{ $labels.instance }} of {{ $labels.job }} for five minutes. What happens there isn't seen.",
		},
		{
			// A refused connection and a page in place of metrics both leave no samples; Kubernetes knows which pod is well.
			Name: "TargetServesGarbage", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr: "up == 0 and on (namespace, pod) " + ready + `
or up == 0 and on (job, instance) scrape_samples_scraped > 0
or up == 1 and on (job, instance) scrape_samples_scraped == 0`,
			Summary:     "{{ $labels.job }}: {{ $labels.instance }} answers with something else than metrics",
			Description: "{{ $labels.instance }} of {{ $labels.job }} is well by its own word, and Prometheus can't use what it answers: no metrics, broken ones, too many, or nothing gets through.",
		},
		{
			Name: "TargetTooLarge", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`max by (job) (scrape_samples_post_metric_relabeling) > %d`, mostSamples),
			Summary:     "{{ $labels.job }}: it answers with too many series",
			Description: "A target of {{ $labels.job }} answers with {{ $value | humanize }} series. At twice the number of this alert's bound Prometheus takes none of them.",
		},
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
			Summary:     "{{ $labels.job }}: Prometheus knows of no target",
			Description: "There is nothing that Prometheus could ask of {{ $labels.job }}: no pod runs, or it isn't found. Rules about it are silent.",
		})
	}
	return group
}
