package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// outageInterval is how often outages are judged: the rules are few, and an outage is reported sooner.
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

// gateway is what the gateway finds of the services behind it. The alert's job is the service it speaks of.
func gateway(services []catalog.Service) Group {
	group := Group{Name: "gateway"}
	for _, severity := range severities(services) {
		group.Alerts = append(group.Alerts, Alert{
			Name: "BreakerOpen", For: time.Minute, KeepFiring: time.Minute, Severity: severity,
			// Open breakers try again every few seconds, and are half open then.
			Expr: fmt.Sprintf(`label_replace(max by (service) (max_over_time(gateway_breaker_state{service=~"%s"}[1m])) == 2, "job", "$1", "service", "(.+)")`,
				loud(services, severity)),
			Summary:     "{{ $labels.job }}: the gateway has stopped asking it",
			Description: "The breaker for {{ $labels.job }} has been open for a minute: too much of what the gateway asked failed. Users get 503 for all that needs it.",
		})
	}
	edge := catalog.Ticket // what a breach of the public service is
	if i := slices.IndexFunc(services, func(s catalog.Service) bool { return s.Public }); i >= 0 {
		edge = services[i].Objectives.Breach
	}
	group.Alerts = append(group.Alerts, Alert{
		Name: "BulkheadFull", For: 2 * time.Minute, Severity: catalog.Ticket,
		Expr:        `label_replace(sum by (service) (rate(gateway_rejections_total{reason="bulkhead"}[2m])) > 0.1, "job", "$1", "service", "(.+)")`,
		Summary:     "{{ $labels.job }}: the gateway turns requests away",
		Description: "{{ $value | humanize }} requests a second are turned away, because {{ $labels.job }} has as many in hand as it may have.",
	}, Alert{
		Name: "RevocationsOld", For: time.Minute, Severity: edge,
		Expr:        `max by (job) (gateway_revocations_age_seconds) > 300`,
		Summary:     "{{ $labels.job }}: it hasn't heard which sessions were revoked",
		Description: "A replica of {{ $labels.job }} last heard {{ $value | humanizeDuration }} ago which sessions were revoked. One that was signed out since may still be let in.",
	})
	return group
}

// events is the way of events: an outbox, a stream, the consumers of other services, and the webhook.
func events(services []catalog.Service) Group {
	// each joins an expression for the services with that access.
	each := func(has func(catalog.Service) bool, format string) string {
		var alternatives []string
		for _, service := range services {
			if has(service) {
				alternatives = append(alternatives, strings.ReplaceAll(format, "%", service.Role()))
			}
		}
		return strings.Join(alternatives, " or ")
	}
	waiting := each(catalog.Service.Consumes, "max by (job, consumer) (%_stream_lag) + max by (job, consumer) (%_stream_pending)")
	const failed = `sum by (job) (increase(notification_service_webhook_deliveries_total{outcome=~"failed|gave_up"}[15m]))`
	alerts := []Alert{
		{
			Name: "OutboxStuck", For: 2 * time.Minute, Severity: catalog.Ticket,
			Expr:        `(` + each(catalog.Service.Publishes, "max by (job) (%_outbox_oldest_unpublished_seconds)") + `) > 180`,
			Summary:     "{{ $labels.job }}: events aren't published",
			Description: "The oldest event in the outbox of {{ $labels.job }} has waited {{ $value | humanizeDuration }}. What happened is safe; no other service hears of it.",
		},
		{
			Name: "StreamLag", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        `(` + waiting + `) > 1000`,
			Summary:     "{{ $labels.job }}: it can't keep up with the stream",
			Description: "{{ $value | humanize }} events wait to be handled by consumer {{ $labels.consumer }} of {{ $labels.job }}.",
		},
		{
			Name: "StreamStalled", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr: `(` + waiting + `) > 0
and on (job, consumer) (` + each(catalog.Service.Consumes, "sum by (job, consumer) (rate(%_events_handled_total[10m]))") + `) == 0`,
			Summary:     "{{ $labels.job }}: events wait and none is handled",
			Description: "{{ $value | humanize }} events wait, and in ten minutes consumer {{ $labels.consumer }} of {{ $labels.job }} has handled none.",
		},
		{
			Name: "StreamLost", Severity: catalog.Ticket, KeepFiring: time.Hour,
			Expr:        `(` + each(catalog.Service.Publishes, "sum by (job) (increase(%_stream_losses_total[10m]))") + `) > 0`,
			Summary:     "{{ $labels.job }}: the stream has lost events",
			Description: "{{ $labels.job }} found that the stream had lost entries and publishes them again. Nothing is missing in the end; why it lost them is worth knowing.",
		},
		{
			Name: "DeadLetters", For: time.Minute, Severity: catalog.Ticket,
			Expr:        `(` + each(func(s catalog.Service) bool { return s.Redrives }, "max by (job) (%_dead_letters)") + `) > 0`,
			Summary:     "{{ $labels.job }}: {{ $value }} events could not be handled",
			Description: "{{ $value }} entries are in the dead letters of a stream. What they ask for isn't done unless somebody acts: make redrive.",
		},
		{
			Name: "WebhookFailing", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr: failed + ` / sum by (job) (increase(notification_service_webhook_deliveries_total[15m])) > 0.5
and on (job) ` + failed + ` >= 5`,
			Summary:     "{{ $labels.job }}: deliveries to the webhook fail",
			Description: "{{ $value | humanizePercentage }} of the attempts of the last quarter of an hour failed. Each is tried for about half an hour, then given up.",
		},
		{
			Name: "WebhookGaveUp", Severity: catalog.Ticket, KeepFiring: 30 * time.Minute,
			Expr:        `sum by (job) (increase(notification_service_webhook_deliveries_total{outcome="gave_up"}[10m])) > 0`,
			Summary:     "{{ $labels.job }}: notifications were not delivered",
			Description: "{{ $value | humanize }} deliveries to the webhook were given up within ten minutes. They aren't tried again by themselves.",
		},
	}
	empty := func(alert Alert) bool { return strings.Contains(alert.Expr, "()") } // no service has what it is about
	return Group{Name: "events", Alerts: slices.DeleteFunc(alerts, empty)}
}

const (
	// retiring is how long after its time what stands by may still run: until a release that is under way has ended.
	retiring = time.Hour
	// idleColour is for how long a colour without traffic has answered nothing: a switch starts that again.
	idleColour = 5 * time.Minute
)

// releases alerts on what gets stuck between an old version and a new one. A former version stands by for the given time.
func releases(ours string, standby time.Duration) Group {
	late := standby + retiring
	both := fmt.Sprintf(`count by (job) (count by (job, colour) (up{namespace="%s", colour!=""} == 1)) > 1`, apps)
	idle := fmt.Sprintf(`time() - min by (job) (max by (job, colour) (service_last_answer_timestamp_seconds{namespace="%s", colour!=""})) > %.0f`,
		apps, idleColour.Seconds())
	return Group{Name: "releases", Alerts: []Alert{{
		Name: "ReleaseStuck", For: late, Severity: catalog.Ticket,
		Expr:    both + " and on (job) (" + idle + ")",
		Summary: "{{ $labels.job }}: two colours have been running for longer than one stands by",
		Description: "{{ $value }} colours of {{ $labels.job }} run, and one of them has had no traffic for more than " + late.String() +
			". A release was neither finished nor rolled back, or the standby wasn't retired; both cost.",
	}, {
		Name: "RolloutStuck", For: time.Minute, Severity: catalog.Ticket,
		Expr:        ofWorkload(fmt.Sprintf(`kube_deployment_status_condition{%s, condition="Progressing", status="false"} == 1`, ours), "deployment"),
		Summary:     "{{ $labels.job }}: the rollout of {{ $labels.deployment }} makes no progress",
		Description: "Deployment {{ $labels.deployment }} in {{ $labels.namespace }} has passed its deadline. What ran before goes on; the new version doesn't become ready.",
	}}}
}
