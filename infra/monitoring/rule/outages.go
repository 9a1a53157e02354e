package rule

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// outageInterval is how often outages are judged: they are few rules, and what they wait for is told sooner.
const outageInterval = 5 * time.Second

// outages is what users notice at once. What is scraped every 15 s and must be seen for as long is told within a minute of its
// cause: 15 s to the scrape, 10 s for one that hangs, 5 s to the evaluation, 15 s until it is believed, 5 s for others to join.
func outages(services []catalog.Service) Group {
	const seenTwice = 15 * time.Second
	group := Group{Name: "outages", Interval: outageInterval, Records: []Record{{
		// A replica answers where Prometheus reaches it and Kubernetes doesn't know better.
		Name: "job:replicas_serving:count",
		Expr: fmt.Sprintf(`count by (job) (
  up{namespace="%s"} == 1
  unless on (namespace, pod) kube_pod_status_ready{namespace="%s", condition="true"} == 0
) or 0 * job:objective:availability`, apps, apps),
	}}}
	for _, severity := range severities(services) {
		jobs := loud(services, severity)
		group.Alerts = append(group.Alerts, Alert{
			Name: "ServiceDown", For: seenTwice, KeepFiring: time.Minute, Severity: severity,
			Expr:        fmt.Sprintf(`job:replicas_serving:count{job=~"%s"} == 0`, jobs),
			Summary:     "{{ $labels.job }}: no replica answers",
			Description: "Of {{ $labels.job }} {{ $value }} replicas answer and are ready, in any colour. Whoever needs it is answered 502 or 503.",
		}, Alert{
			// Longer than it takes until both colours have been asked after a switch.
			Name: "LiveColourDown", For: 2 * seenTwice, KeepFiring: time.Minute, Severity: severity,
			Expr: fmt.Sprintf(`sum by (job) (
  service_live{namespace="%s", job=~"%s"}
  unless on (namespace, pod) kube_pod_status_ready{namespace="%s", condition="true"} == 0
) == 0
and on (job) job:replicas_serving:count > 0`, apps, jobs, apps),
			Summary:     "{{ $labels.job }}: the live colour has no ready replica, the other one has",
			Description: "{{ $value }} ready replicas of {{ $labels.job }} are of the live colour. Requests go nowhere although the other colour runs.",
		})
	}
	const https = `job="` + network.Edge + `", entrypoint="https"`
	group.Alerts = append(group.Alerts, Alert{
		Name: "EdgeDown", For: seenTwice, KeepFiring: time.Minute, Severity: catalog.Page,
		Expr:        fmt.Sprintf(`max by (job) (up{job="%s"}) == 0 or absent(up{job="%s"})`, network.Edge, network.Edge),
		Summary:     "edge: no replica of Traefik answers",
		Description: "Nobody outside reaches the platform: Prometheus gets no answer of any replica of the edge.",
	}, Alert{
		// The last two samples only: an outage is to show at once, and its end too.
		Name: "EdgeFailing", For: seenTwice, KeepFiring: 2 * time.Minute, Severity: catalog.Page,
		Expr: fmt.Sprintf(`sum by (job) (irate(traefik_entrypoint_requests_total{%s, code=~"5.."}[1m]))
  / sum by (job) (irate(traefik_entrypoint_requests_total{%s}[1m])) > 0.5
and on (job) sum by (job) (increase(traefik_entrypoint_requests_total{%s, code=~"5.."}[2m])) >= 5`, https, https, https),
		Summary:     "edge: most requests are answered 5xx",
		Description: "{{ $value | humanizePercentage }} of what users ask is answered with a 5xx status at the edge.",
	}, Alert{
		// A quiet night was quiet a week ago as well. With no such week there is nothing to compare with.
		Name: "EdgeTrafficGone", For: 5 * time.Minute, Severity: catalog.Ticket,
		Expr: fmt.Sprintf(`sum by (job) (rate(traefik_entrypoint_requests_total{%s}[30m]))
  < 0.02 * sum by (job) (rate(traefik_entrypoint_requests_total{%s}[30m] offset 1w))
and on (job) sum by (job) (rate(traefik_entrypoint_requests_total{%s}[30m] offset 1w)) > 0.2`, https, https, https),
		Summary:     "edge: hardly any request comes in",
		Description: "{{ $value | humanize }} requests a second reach the edge, less than a fiftieth of the same half hour a week ago. Users may not find the way.",
	})
	return group
}
