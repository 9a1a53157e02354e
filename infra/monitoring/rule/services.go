package rule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// Probe is the scrape job that requests the public address as a client does.
const Probe = "public-address"

// outageInterval is the evaluation interval of outages. It is short, so that outages are reported soon.
const outageInterval = 5 * time.Second

// seenTwice is the interval of scrapes: the condition of an alert that lasts as long was seen in two scrapes.
const seenTwice = 15 * time.Second

// outlives is how long an alert on a cause keeps firing: longer than the alerts that it inhibits. Most of them have a window of
// a minute and keep firing for another minute.
const outlives = 3 * time.Minute

// outages are the alerts on what users notice at once. They are sent within two minutes of the cause: up to 15 s until the next scrape,
// 10 s for its timeout, 5 s until the evaluation, the duration of the condition, and 5 s for grouping.
func outages(services []catalog.Service) Group {
	group := Group{Name: "outages", Interval: outageInterval, Records: []Record{{
		// A replica serves if Prometheus can scrape it, and Kubernetes neither reports it as unready nor deletes it. The series up outlives a
		// deleted pod by up to half a minute.
		Name: "job:replicas_serving:count",
		Expr: fmt.Sprintf(`count by (job) (
  up{namespace="%[1]s"} == 1
  unless on (namespace, pod) kube_pod_status_ready{namespace="%[1]s", condition="true"} == 0
  unless on (namespace, pod) last_over_time(kube_pod_deletion_timestamp{namespace="%[1]s"}[5m])
) or 0 * job:objective:availability`, apps),
	}}}
	for _, severity := range severities(services) {
		jobs := loud(services, severity)
		group.Alerts = append(group.Alerts, Alert{
			// Longer than the time until a new replica is scraped. A service that was just added has ten minutes to start.
			Name: "ServiceDown", For: 2 * seenTwice, KeepFiring: outlives, Severity: severity,
			Expr: fmt.Sprintf(`job:replicas_serving:count{job=~"%s"} == 0
and on (job) label_replace(time() - last_over_time(kube_service_created{namespace="%s"}[6h]) > 600, "job", "$1", "service", "(.+)")`, jobs, apps),
			Summary:     "{{ $labels.job }}: no replica responds",
			Description: "{{ $value }} replicas of {{ $labels.job }} respond and are ready, in any colour. Requests to it get 502 or 503.",
		}, Alert{
			// The name of an EndpointSlice is that of its Service and five random characters. Without kube-state-metrics no slice has endpoints.
			Name: "LiveColourDown", For: 2 * seenTwice, KeepFiring: outlives, Severity: severity,
			Expr: fmt.Sprintf(`job:replicas_serving:count{job=~"%s"} > 0
unless on (job) label_replace(kube_endpointslice_endpoints{namespace="%s", ready="true"}, "job", "$1", "endpointslice", "(.+)-[^-]+")
and on () count(kube_endpointslice_endpoints{namespace="%s"})`, jobs, apps, apps),
			Summary:     "{{ $labels.job }}: the live colour has no ready replica, but the other colour has",
			Description: "The live Service of {{ $labels.job }} has no ready endpoint, so requests fail, although {{ $value }} replicas run.",
		})
	}
	visits := fmt.Sprintf(`sum(rate(%s{job="%s"}[30m]`, RequestsOf(catalog.Public(services)).Total, catalog.Public(services).Name)
	group.Alerts = append(group.Alerts, Alert{
		Name: "DnsDown", For: seenTwice + outageInterval, KeepFiring: outlives + time.Minute, Severity: catalog.Page,
		// It fires before RedisDown, which follows. On some clusters Prometheus can never scrape CoreDNS. A started Prometheus first scrapes each target.
		Expr:        `sum by (job) (sum_over_time(up{job="coredns"}[1d])) > 0 unless on (job) max by (job) (up{job="coredns"}) == 1 and on () max(count_over_time(up[1m])) > 2`,
		Summary:     "coredns: no DNS server responds",
		Description: "No replica of CoreDNS responds. Running services keep using the addresses that they know. New pods can't connect to anything.",
	}, Alert{
		// Longer than a started Prometheus takes to scrape each target. A new platform has ten minutes to start.
		Name: "EdgeDown", For: 2 * seenTwice, KeepFiring: outlives, Severity: catalog.Page,
		Expr: fmt.Sprintf(`(max by (job) (up{job="%[1]s"}) == 0 or %[2]s)
and on () time() - last_over_time(kube_service_created{namespace="edge", service="%[1]s"}[6h]) > 600`, network.Edge, noTarget(network.Edge)),
		Summary:     "edge: no replica of Traefik responds",
		Description: "No replica of the edge responds to Prometheus. Clients can't reach the platform.",
	}, Alert{
		// Fires after EdgeFailing, which inhibits it.
		Name: "EdgeUnreachable", For: 5 * seenTwice, KeepFiring: time.Minute, Severity: catalog.Page,
		Expr:        fmt.Sprintf(`label_replace(max by (job) (up{job="%s"}) == 0, "job", "%s", "", "")`, Probe, network.Edge),
		Summary:     "edge: the public address doesn't respond",
		Description: "Prometheus gets no valid response from the public address: DNS, the load balancer, a firewall, the certificate or the gateway fails. Clients can't reach the platform.",
	}, Alert{
		// irate uses only the last two samples, so that the alert begins and ends with the outage. It fires after the alert on the cause.
		Name: "EdgeFailing", For: 3 * seenTwice, KeepFiring: time.Minute, Severity: catalog.Page,
		Expr: share(`code=~"5.."`, "irate", "[1m]", "job") + fmt.Sprintf(` > 0.5
and on (job) sum by (job) (increase(%s{%s, code=~"5.."}[2m])) >= 5`, edgeRequests, https),
		Summary:     "edge: most requests return 5xx",
		Description: "{{ $value | humanizePercentage }} of the requests at the edge return 5xx.",
	}, Alert{
		// For is longer than a burst stays in the window. A share of yesterday, such as that of a scanner, raises the threshold by its half.
		Name: "EdgeRefusing", For: 4 * seenTwice, KeepFiring: time.Minute, Severity: catalog.Page,
		Expr: fmt.Sprintf(`%[1]s > 0.5 + 0.5 * (%[2]s or 0 * %[1]s)
and on (job) %[3]s >= 1`, share(refusals, "rate", "[1m]", "job, code"), share(refusals, "rate", "[1h] offset 1d", "job, code"), atEdge("rate", "[1m]", "job", "")),
		Summary:     "edge: most requests return {{ $labels.code }}",
		Description: "{{ $value | humanizePercentage }} of the requests at the edge return {{ $labels.code }}, far more than a day ago. 401: a key is lost; 404: a route; 429: a limit is too low, or one client sends most of the requests.",
	}, Alert{
		// Compares with the same time a week ago, since nights have little traffic. Doesn't fire in the first week. The gateway doesn't count probes.
		Name: "EdgeTrafficGone", For: 5 * time.Minute, Severity: catalog.Ticket,
		Expr:        fmt.Sprintf(`label_replace(%[1]s)) < 0.02 * %[1]s offset 1w)) and %[1]s offset 1w)) > 0.2, "job", "%[2]s", "", "")`, visits, network.Edge),
		Summary:     "edge: hardly any requests arrive",
		Description: "{{ $value | humanize }} requests per second reach the gateway, less than 2 % of the same half hour a week ago. Clients may be unable to reach the edge.",
	})
	return group
}

// refusals matches the responses that refuse a request without a failure.
const refusals = `code=~"401|404|429"`

// atEdge is the rate of the requests at the edge with these codes.
func atEdge(rate, window, by, codes string) string {
	return fmt.Sprintf("sum by (%s) (%s(%s{%s, %s}%s))", by, rate, edgeRequests, https, codes, window)
}

// share is the share of the requests at the edge that have these codes.
func share(codes, rate, window, by string) string {
	return fmt.Sprintf("%s / on (job) group_left () (%s > 0)", atEdge(rate, window, by, codes), atEdge(rate, window, "job", ""))
}

// gateway are the alerts on sign-ins, and those of the gateway on the services behind it. Their job is the service.
func gateway(services []catalog.Service, alerts []Alert) Group {
	group := Group{Name: "gateway"}
	for _, severity := range severities(services) {
		group.Alerts = append(group.Alerts, Alert{
			// It fires before the budget burns. An open breaker is half-open every few seconds, to try a request.
			Name: "BreakerOpen", For: 2 * seenTwice, KeepFiring: time.Minute, Severity: severity,
			Expr: fmt.Sprintf(`label_replace(max by (service) (max_over_time(gateway_breaker_state{service=~"%s"}[30s])) == 2, "job", "$1", "service", "(.+)")`,
				loud(services, severity)),
			Summary:     "{{ $labels.job }}: the gateway's breaker is open",
			Description: "The breaker for {{ $labels.job }} has been open for half a minute, because too many requests of the gateway failed. Requests that need the service get 503.",
		})
	}
	group.Alerts = append(append(group.Alerts, alerts...), Alert{
		Name: "RevocationsOld", For: time.Minute, Severity: cmp.Or(catalog.Public(services).Objectives.Breach, catalog.Ticket),
		Expr:        `max by (job) (gateway_revocations_age_seconds) > 300`,
		Summary:     "{{ $labels.job }}: the list of revoked sessions is old",
		Description: "A replica of {{ $labels.job }} last read the revoked sessions {{ $value | humanizeDuration }} ago. It may still accept sessions that were revoked since.",
	})
	return group
}

// events are the alerts on outboxes, streams, consumers and the webhook.
func events(services []catalog.Service, others []Alert) Group {
	// each joins an expression for the matching services.
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
	alerts := []Alert{
		{Name: "OutboxStuck", For: 2 * time.Minute, Severity: catalog.Ticket,
			// A slow Postgres doesn't report the age, which must not resolve the alert.
			Expr:        `(` + each(catalog.Service.Publishes, "max by (job) (last_over_time(%_outbox_oldest_unpublished_seconds[15m]))") + `) > 180`,
			Summary:     "{{ $labels.job }}: events aren't published",
			Description: "The oldest event in the outbox of {{ $labels.job }} has waited {{ $value | humanizeDuration }}. No event is lost, but other services don't receive events."},
		{Name: "StreamLag", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        `(` + waiting + `) > 1000`,
			Summary:     "{{ $labels.job }}: the consumer can't keep up with the stream",
			Description: "{{ $value | humanize }} events wait to be handled by consumer {{ $labels.consumer }} of {{ $labels.job }}."},
		{Name: "StreamStalled", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr: `(` + waiting + `) > 0
and on (job, consumer) (` + each(catalog.Service.Consumes, "sum by (job, consumer) (rate(%_events_handled_total[10m]))") + `) == 0`,
			Summary:     "{{ $labels.job }}: the consumer handles no events",
			Description: "{{ $value | humanize }} events wait, and consumer {{ $labels.consumer }} of {{ $labels.job }} has handled none in ten minutes."},
		{Name: "StreamLost", Severity: catalog.Ticket, KeepFiring: time.Hour,
			Expr:        `(` + each(catalog.Service.Publishes, "sum by (job) (increase(%_stream_losses_total[10m]))") + `) > 0`,
			Summary:     "{{ $labels.job }}: the stream has lost events",
			Description: "The stream lost entries, and {{ $labels.job }} publishes them again. No event is missing, but find out why the stream lost them."},
		{Name: "DeadLetters", For: time.Minute, Severity: catalog.Ticket,
			Expr:        `(` + each(func(s catalog.Service) bool { return s.Redrives }, "max by (job) (%_dead_letters)") + `) > 0`,
			Summary:     "{{ $labels.job }}: {{ $value }} events could not be handled",
			Description: "{{ $value }} entries are in the dead letters of a stream. They are only processed again with make redrive."},
	}
	empty := func(alert Alert) bool { return strings.Contains(alert.Expr, "()") } // for no service
	return Group{Name: "events", Alerts: append(slices.DeleteFunc(alerts, empty), others...)}
}

const (
	// retiring is how much longer a standby version may run, until a release in progress ends.
	retiring = time.Hour
	// idleColour is how long a colour must have answered no request to be idle.
	idleColour = 5 * time.Minute
)

// releases are the alerts on releases that are stuck.
func releases(ours string, standby time.Duration) Group {
	late := standby + retiring
	both := fmt.Sprintf(`count by (job) (count by (job, colour) (up{namespace="%s", colour!=""} == 1)) > 1`, apps)
	idle := fmt.Sprintf(`time() - min by (job) (max by (job, colour) (service_last_answer_timestamp_seconds{namespace="%s", colour!=""})) > %.0f`,
		apps, idleColour.Seconds())
	return Group{Name: "releases", Alerts: []Alert{{
		Name: "ReleaseStuck", For: late, Severity: catalog.Ticket,
		Expr:    both + " and on (job) (" + idle + ")",
		Summary: "{{ $labels.job }}: two colours have run for too long",
		Description: "{{ $value }} colours of {{ $labels.job }} run, and one of them has had no traffic for more than " + late.String() +
			". A release was neither finished nor rolled back, or the standby wasn't retired. Both colours use resources.",
	}, {
		Name: "RolloutStuck", For: time.Minute, Severity: catalog.Ticket,
		// Without a controller manager, a change isn't even observed.
		Expr: ofWorkload(fmt.Sprintf(`(max without (condition, status) (kube_deployment_status_condition{%s, condition="Progressing", status="false"}) == 1
  or kube_deployment_metadata_generation{%[1]s} > kube_deployment_status_observed_generation{%[1]s})`, ours), "deployment"),
		Summary:     "{{ $labels.job }}: the rollout of {{ $labels.deployment }} makes no progress",
		Description: "Deployment {{ $labels.deployment }} in {{ $labels.namespace }} has exceeded its deadline, or no controller manager acts on its change. The previous version keeps running.",
	}}}
}
