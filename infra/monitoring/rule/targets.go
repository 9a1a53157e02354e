package rule

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
)

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
