package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"platform.example/infra/catalog"
)

// examples has at least two examples for each alert: one in which it fires and one in which it doesn't.
func examples() []example {
	return slices.Concat(objectiveExamples(), outageExamples(), releaseExamples(), workloadExamples(), nodeExamples(),
		storageExamples(), storeExamples(), eventExamples(), gatewayExamples(), targetExamples(), prometheusExamples(), controlPlaneExamples())
}

// served is the requests of users to a service per minute, as the gateway counts them: the total, the failures (5xx), and the requests
// slower than the objective.
func served(job string, requests, failed, slow, minutes int) []string {
	within := map[string]string{"notification-service": "1.0"}[job]
	if within == "" {
		within = "0.25"
	}
	each := func(metric, labels string, perMinute int) string {
		return fmt.Sprintf(`%s{job="api-gateway", colour="blue", service="%s"%s} 0+%dx%d`, metric, job, labels, perMinute, minutes)
	}
	return []string{
		each("gateway_requests_total", "", requests),
		each("gateway_service_errors_total", "", failed),
		each("gateway_request_duration_seconds_count", "", requests),
		each("gateway_request_duration_seconds_bucket", fmt.Sprintf(`, le="%s"`, within), requests-slow),
	}
}

// atTheEdge is 70 minutes of requests at the edge, per minute.
func atTheEdge(requests, failed, slow int) []string {
	each := func(metric, labels string, perMinute int) string {
		return fmt.Sprintf(`%s{job="edge", entrypoint="https"%s} 0+%dx70`, metric, labels, perMinute)
	}
	return []string{
		each("traefik_entrypoint_requests_total", `, code="200"`, requests-failed),
		each("traefik_entrypoint_requests_total", `, code="502"`, failed),
		each("traefik_entrypoint_request_duration_seconds_count", "", requests),
		each("traefik_entrypoint_request_duration_seconds_bucket", `, le="0.25"`, requests-slow),
	}
}

func objectiveExamples() []example {
	users := func(requests, failed, slow, minutes int) []string {
		return served("user-service", requests, failed, slow, minutes)
	}
	notifications := func(failed, slow, minutes int) []string { // of a thousand a minute
		return served("notification-service", 1000, failed, slow, minutes)
	}
	const user, notification, edge = `job="user-service"`, `job="notification-service"`, `job="edge"`
	burns := func(alert string, severity catalog.Severity, burn, about string, series []string, at time.Duration, fires ...string) example {
		if len(fires) > 0 {
			fires[0] += `, burn="` + burn + `"`
		}
		return example{alert: alert, severity: severity, matchers: `burn="` + burn + `"`, about: about,
			series: series, step: time.Minute, judged: max(5*time.Minute, at/24), at: at, fires: fires}
	}
	down := func(alert, job string) string {
		return fmt.Sprintf(`ALERTS{alertname="%s", job="%s", alertstate="firing"} _x50 1x6 stale`, alert, job)
	}
	const availability, latency = "AvailabilityBudgetBurn", "LatencyBudgetBurn"
	return []example{
		burns(availability, catalog.Page, "fast", "2 % of the requests fail for an hour", users(1000, 20, 0, 70), time.Hour, user),
		burns(availability, catalog.Page, "fast", "1 % of the requests fail, less than 14.4 times a thousandth", users(1000, 10, 0, 70), time.Hour),
		burns(availability, catalog.Page, "fast", "the gateway itself fails", served("api-gateway", 1000, 20, 0, 70), time.Hour, `job="api-gateway"`),
		burns(availability, catalog.Page, "fast", "a service fails, and so does its caller, the edge, with as many requests",
			slices.Concat(users(1000, 20, 0, 70), served("api-gateway", 1000, 0, 0, 70), atTheEdge(2000, 20, 0)), time.Hour, user),
		burns(availability, catalog.Page, "fast", "Traefik returns 502 to requests that the gateway never gets",
			append(users(1000, 0, 0, 70), atTheEdge(1020, 20, 0)...), time.Hour, edge),
		burns(availability, catalog.Page, "fast", "Traefik returns 502, since the gateway was down", append(atTheEdge(1000, 20, 0), down("ServiceDown", "api-gateway")), time.Hour),
		burns(availability, catalog.Page, "fast", "gateways poll user-service, which fails for users", append(users(100, 20, 0, 70),
			`user_service_requests_total{job="user-service", endpoint="/sessions/revoked"} 0+9000x70`), time.Hour, user),
		burns(availability, catalog.Page, "fast", "user-service fails for gateways that poll, and for no user", append(users(1000, 0, 0, 70),
			`user_service_errors_total{job="user-service", endpoint="/sessions/revoked"} 0+900x70`), time.Hour),
		{alert: availability, severity: catalog.Page, matchers: `burn="fast"`, about: "three requests of a quiet night fail, a third",
			series: []string{
				`gateway_requests_total{job="api-gateway", service="user-service"} 0+1x60`, `gateway_service_errors_total{job="api-gateway", service="user-service"} 0x4 1 1 1 2 2 2 3x60`,
			}, step: time.Minute, at: 10 * time.Minute},
		{alert: availability, severity: catalog.Page, matchers: `burn="fast"`, about: "Prometheus has just begun to scrape, and one of twenty requests failed",
			series: []string{
				`gateway_requests_total{job="api-gateway", service="user-service"} 0+1x60`, `gateway_service_errors_total{job="api-gateway", service="user-service"} 0 1x60`,
			}, at: 4 * time.Minute},
		{alert: availability, severity: catalog.Page, matchers: `burn="medium"`, about: "Prometheus began to scrape twenty minutes ago, and one of eighty requests failed",
			series: []string{
				`gateway_requests_total{job="api-gateway", service="user-service"} 0+1x80`, `gateway_service_errors_total{job="api-gateway", service="user-service"} 0x40 1x40`,
			}, at: 20 * time.Minute},
		{alert: availability, severity: catalog.Page, matchers: `burn="fast"`, about: "half of the requests fail since three minutes ago", series: []string{
			`gateway_requests_total{job="api-gateway", service="user-service"} 0+250x60`, `gateway_service_errors_total{job="api-gateway", service="user-service"} 0x24 0+125x36`,
		}, at: 9 * time.Minute, fires: []string{user + `, burn="fast"`}},
		burns(availability, catalog.Page, "fast", "it was bad and has been well for ten minutes", []string{
			`gateway_requests_total{job="api-gateway", service="user-service"} 0+1000x80`, `gateway_service_errors_total{job="api-gateway", service="user-service"} 0+200x30 6000x50`,
		}, 45*time.Minute),
		burns(availability, catalog.Page, "fast", "2 % fail, and Postgres was down until three minutes ago", append(users(1000, 20, 0, 70), down("PostgresDown", "postgres")), time.Hour),
		burns(availability, catalog.Page, "fast", "2 % of the requests to user-service fail, since it was down",
			append(users(1000, 20, 0, 70), down("ServiceDown", "user-service")), time.Hour),
		burns(availability, catalog.Page, "fast", "2 % fail, and another service was down", append(users(1000, 20, 0, 70), down("ServiceDown", "order-service")), time.Hour, user),
		burns(availability, catalog.Page, "medium", "0.8 % of the requests fail for six hours", users(1000, 8, 0, 370), 6*time.Hour, user),
		burns(availability, catalog.Page, "medium", "0.5 % of the requests fail, less than 6 times a thousandth", users(1000, 5, 0, 370), 6*time.Hour),
		burns(availability, catalog.Ticket, "slow", "0.2 % of the requests fail for days", users(1000, 2, 0, 500), 8*time.Hour, user),
		burns(availability, catalog.Ticket, "slow", "0.05 % of the requests fail, half of what may", users(2000, 1, 0, 500), 8*time.Hour),
		burns(availability, catalog.Ticket, "fast", "a tenth fails of a service whose outage is a ticket", notifications(100, 0, 70), time.Hour, notification),
		burns(availability, catalog.Ticket, "fast", "2 % of the requests of such a service fail, which may for a while", notifications(20, 0, 70), time.Hour),
		burns(availability, catalog.Ticket, "medium", "4 % of such a service fail for six hours", notifications(40, 0, 370), 6*time.Hour, notification),
		burns(availability, catalog.Ticket, "medium", "2 % of such a service fail for six hours", notifications(20, 0, 370), 6*time.Hour),
		burns(latency, catalog.Page, "fast", "a fifth of the requests is slow for an hour", users(1000, 0, 200, 70), time.Hour, user),
		burns(latency, catalog.Page, "fast", "a fifth of the requests is slow at the edge, and none of them at the gateway",
			append(served("api-gateway", 1000, 0, 0, 70), atTheEdge(1000, 0, 200)...), time.Hour, edge),
		burns(latency, catalog.Page, "fast", "a fifth of the requests is slow at the edge, since user-service is slow",
			append(users(1000, 0, 200, 70), atTheEdge(1000, 0, 200)...), time.Hour, user),
		burns(latency, catalog.Page, "fast", "a tenth is slow, less than 14.4 times a hundredth", users(1000, 0, 100, 70), time.Hour),
		burns(latency, catalog.Page, "medium", "8 % are slow for six hours", users(1000, 0, 80, 370), 6*time.Hour, user),
		burns(latency, catalog.Page, "medium", "5 % are slow for six hours", users(1000, 0, 50, 370), 6*time.Hour),
		burns(latency, catalog.Ticket, "slow", "2 % are slow for days", users(1000, 0, 20, 500), 8*time.Hour, user),
		burns(latency, catalog.Ticket, "slow", "0.5 % are slow, half of what may be", users(1000, 0, 5, 500), 8*time.Hour),
		burns(latency, catalog.Ticket, "fast", "a fifth is slow of a service whose outage is a ticket", notifications(0, 200, 70), time.Hour, notification),
		burns(latency, catalog.Ticket, "fast", "a tenth is slow of such a service", notifications(0, 100, 70), time.Hour),
		burns(latency, catalog.Ticket, "medium", "8 % are slow of such a service for six hours", notifications(0, 80, 370), 6*time.Hour, notification),
		burns(latency, catalog.Ticket, "medium", "5 % are slow of such a service for six hours", notifications(0, 50, 370), 6*time.Hour),
	}
}

// replica is the series of a replica: the values of up, of ready, and of whether the live Service has it as a ready endpoint.
func replica(job, pod, colour, up, ready, live string) []string {
	pods := fmt.Sprintf(`namespace="apps", pod="%s"`, pod)
	live = strings.ReplaceAll(live, " 0x", " stale _x")
	if strings.HasPrefix(live, "0x") {
		live = "_" + live[1:]
	}
	endpoint := func(slice, values string) string {
		return fmt.Sprintf(`kube_endpointslice_endpoints{job="kube-state-metrics", namespace="apps", address="%s", endpointslice="%s", ready="true"} %s`, pod, slice, values)
	}
	return []string{
		fmt.Sprintf(`up{job="%s", colour="%s", instance="10.0.0.1:9090", %s} %s`, job, colour, pods, up),
		fmt.Sprintf(`kube_pod_status_ready{job="kube-state-metrics", condition="true", %s} %s`, pods, ready),
		fmt.Sprintf(`kube_service_created{job="kube-state-metrics", namespace="apps", service="%s", uid="%s"} -3600x200`, job, pod),
		endpoint(job+"-"+colour+"-ab12c", "1x200"), // of the colour's own Service
		endpoint(job+"-x7k2p", live),
	}
}

func outageExamples() []example {
	const page = catalog.Page
	const user, notification, edge = `job="user-service"`, `job="notification-service"`, `job="edge"`
	created := func(values string) string {
		return `kube_service_created{job="kube-state-metrics", namespace="edge", service="edge"} ` + values
	}
	of := func(matchers string, e example) example { e.matchers = matchers; return e }
	asked := func(code, values string) string {
		return fmt.Sprintf(`traefik_entrypoint_requests_total{job="edge", entrypoint="https", method="GET", protocol="http", code="%s"} %s`, code, values)
	}
	visited := func(pod, values string) string {
		return fmt.Sprintf(`gateway_requests_total{job="api-gateway", namespace="apps", pod="%s", method="GET", service="user-service", status="2xx"} %s`, pod, values)
	}
	beingDeleted := append(replica("user-service", "a", "blue", "1x8 stale", "1x5 stale", "1x3 stale"),
		`kube_pod_deletion_timestamp{job="kube-state-metrics", namespace="apps", pod="a"} _x4 1x1 stale`)
	return []example{
		// The replicas die right after they were asked; all of a minute is left for the scrape, two evaluations and Alertmanager.
		of(user, example{alert: "ServiceDown", severity: page, about: "the only replica doesn't respond, thirty seconds after the scrape that shows it",
			series: replica("user-service", "a", "blue", "1x3 0x20", "1x30", "1x30"), at: 90 * time.Second, fires: []string{user}}),
		of(user, example{alert: "ServiceDown", severity: page, about: "a replica is replaced by another one, which is scraped fifteen seconds later",
			series: slices.Concat(replica("user-service", "a", "blue", "1x3 stale", "1x3 stale", "1x30"), replica("user-service", "b", "blue", "_x4 1x20", "_x4 1x20", "1x30")),
			at:     90 * time.Second}),
		of(user, example{alert: "ServiceDown", severity: page, about: "a new service has been created five minutes ago, and hasn't started",
			series: []string{`kube_service_created{job="kube-state-metrics", namespace="apps", service="user-service"} 0x60`}, at: 5 * time.Minute}),
		of(user, example{alert: "ServiceDown", severity: page, about: "a new service has been created a quarter of an hour ago, and hasn't started",
			series: []string{`kube_service_created{job="kube-state-metrics", namespace="apps", service="user-service"} 0x60`}, at: 15 * time.Minute, fires: []string{user}}),
		of(user, example{alert: "ServiceDown", severity: page, about: "both replicas respond, and Kubernetes sends them no requests",
			series: slices.Concat(replica("user-service", "a", "blue", "1x30", "1x3 0x20", "1x30"), replica("user-service", "b", "blue", "1x30", "0x30", "1x30")),
			at:     2 * time.Minute, fires: []string{user}}),
		of(user, example{alert: "ServiceDown", severity: page, about: "there is no pod left to ask",
			series: replica("user-service", "a", "blue", "1x3 stale", "1x3 stale", "1x3 stale"), at: 2 * time.Minute, fires: []string{user}}),
		of(user, example{alert: "ServiceDown", severity: page, about: "the only replica is being deleted, and responds while it completes its requests",
			series: beingDeleted, at: 95 * time.Second, fires: []string{user}}),
		of(user, example{alert: "ServiceDown", severity: page, about: "one scrape fails",
			series: replica("user-service", "a", "blue", "1x3 0 1x20", "1x30", "1x30"), at: 75 * time.Second}),
		of(user, example{alert: "ServiceDown", severity: page, about: "one replica of two is away",
			series: slices.Concat(replica("user-service", "a", "blue", "0x30", "0x30", "0x30"), replica("user-service", "b", "blue", "1x30", "1x30", "1x30")),
			at:     5 * time.Minute}),
		of(user, example{alert: "ServiceDown", severity: page, about: "kube-state-metrics is away and the replica responds",
			series: replica("user-service", "a", "blue", "1x30", "1x3 stale", "1x30"), at: 5 * time.Minute}),
		of(notification, example{alert: "ServiceDown", about: "no replica of a service whose outage is a ticket",
			series: replica("notification-service", "a", "blue", "1x3 0x20", "1x30", "1x30"), at: 2 * time.Minute, fires: []string{notification}}),
		of(notification, example{alert: "ServiceDown", about: "such a service responds",
			series: replica("notification-service", "a", "blue", "1x30", "1x30", "1x30"), at: 2 * time.Minute}),

		{alert: "LiveColourDown", severity: page, about: "the live Service selects a colour that doesn't run, and the other colour runs",
			series: replica("user-service", "g", "green", "1x30", "1x30", "0x30"), at: time.Minute, fires: []string{user}},
		{alert: "LiveColourDown", severity: page, about: "the live colour's pod isn't ready and the standby's is",
			series: slices.Concat(replica("user-service", "b", "blue", "1x30", "0x30", "0x30"), replica("user-service", "g", "green", "1x30", "1x30", "0x30")),
			at:     time.Minute, fires: []string{user}},
		{alert: "LiveColourDown", severity: page, about: "the only replica is being deleted, so ServiceDown fires",
			series: beingDeleted, at: 2 * time.Minute},
		{alert: "LiveColourDown", severity: page, about: "kube-state-metrics is away, so that no Service has endpoints",
			series: replica("user-service", "b", "blue", "1x30", "1x30", "1x30")[:1], at: 5 * time.Minute},
		{alert: "LiveColourDown", severity: page, about: "the live Service is switched to the other colour, between two scrapes of kube-state-metrics",
			series: slices.Concat(replica("user-service", "b", "blue", "1x30", "1x30", "1x3 0x20"), replica("user-service", "g", "green", "1x30", "1x30", "0x4 1x20")),
			at:     90 * time.Second},
		{alert: "LiveColourDown", about: "the live colour of a service whose outage is a ticket is gone",
			series: replica("notification-service", "g", "green", "1x30", "1x30", "0x30"), at: time.Minute, fires: []string{notification}},
		{alert: "LiveColourDown", about: "such a service's live colour is there",
			series: replica("notification-service", "g", "green", "1x30", "1x30", "1x30"), at: 5 * time.Minute},

		{alert: "EdgeDown", severity: page, about: "no replica of the edge responds, thirty seconds after the scrape that shows it",
			series: []string{created("-3600x40"), `up{job="edge", pod="a"} 1x3 0x20`, `up{job="edge", pod="b"} 1x3 0x20`}, at: 90 * time.Second, fires: []string{edge}},
		{alert: "EdgeDown", severity: page, about: "the edge has no pods",
			series: []string{created("-3600x40"), `up{job="edge", pod="a"} 1x3 stale`, `up{job="prometheus"} 1x40`}, at: 2 * time.Minute, fires: []string{edge}},
		{alert: "EdgeDown", severity: page, about: "one replica of the edge is away",
			series: []string{created("-3600x40"), `up{job="edge", pod="a"} 0x20`, `up{job="edge", pod="b"} 1x20`}, at: 2 * time.Minute},
		{alert: "EdgeDown", severity: page, about: "one scrape of the edge fails",
			series: []string{created("-3600x40"), `up{job="edge", pod="a"} 1x3 0 1x20`}, at: 90 * time.Second},
		{alert: "EdgeDown", severity: page, about: "Prometheus has started, and scrapes the edge for the first time after twenty seconds", step: 5 * time.Second,
			series: []string{created("_x3 -3600x40"), `up{job="edge", pod="a"} _x4 1x40`}, at: 25 * time.Second},
		{alert: "EdgeDown", severity: page, about: "the platform was created five minutes ago, and Traefik hasn't started", series: []string{created("0x60")}, at: 5 * time.Minute},
		{alert: "EdgeDown", severity: page, about: "the platform was created a quarter of an hour ago, and Traefik hasn't started", series: []string{created("0x70"), `up{job="prometheus"} 1x70`}, at: 15 * time.Minute, fires: []string{edge}},
		{alert: "EdgeDown", severity: page, about: "Prometheus has no new samples", series: []string{created("-3600x4"), `up{job="edge", pod="a"} 1x4`}, at: 15 * time.Minute},

		{alert: "DnsDown", severity: page, about: "Prometheus was away for ten minutes, and scrapes CoreDNS twenty seconds after it has started", step: 5 * time.Second,
			series: []string{`up{job="kube-state-metrics"} 1x2 _x119 1x40`, `up{job="coredns", pod="a"} 1x2 _x122 1x40`}, at: 625 * time.Second},
		{alert: "DnsDown", severity: page, about: "no replica of CoreDNS responds", series: []string{`up{job="coredns", pod="a"} 1x3 0x20`, `up{job="coredns", pod="b"} 0x40`},
			at: 90 * time.Second, fires: []string{`job="coredns"`}},
		{alert: "DnsDown", severity: page, about: "CoreDNS has no replica any more", series: []string{`up{job="coredns", pod="a"} 1x3 stale`, `up{job="kube-state-metrics"} 1x40`}, at: 2 * time.Minute, fires: []string{`job="coredns"`}},
		{alert: "DnsDown", severity: page, about: "one replica of CoreDNS responds", series: []string{`up{job="coredns", pod="a"} 0x40`, `up{job="coredns", pod="b"} 1x40`}, at: 2 * time.Minute},
		{alert: "DnsDown", severity: page, about: "the DNS server of this cluster has no metrics at its port", series: []string{`up{job="coredns", pod="a"} 0x40`, `up{job="kube-state-metrics"} 1x40`}, at: 2 * time.Minute},
		{alert: "DnsDown", severity: page, about: "Prometheus can't discover the DNS server of this cluster", at: 2 * time.Minute},

		{alert: "EdgeUnreachable", severity: page, about: "the public address shows another certificate", series: []string{`up{job="public-address", instance="api.example.com"} 1x2 0x20`},
			at: 2 * time.Minute, fires: []string{edge}},
		{alert: "EdgeUnreachable", severity: page, about: "nothing probes the public address", at: 2 * time.Minute},
		{alert: "EdgeUnreachable", severity: page, about: "the public address failed twice", series: []string{`up{job="public-address", instance="api.example.com"} 1x3 0 0 1x20`}, at: 2 * time.Minute},

		{alert: "EdgeRefusing", severity: page, about: "nine of ten requests get 429, which none got a minute before",
			series: []string{asked("200", "0+100x4 400+10x20"), asked("429", "_x5 10+90x20")}, at: 3 * time.Minute, fires: []string{edge + `, code="429"`}},
		{alert: "EdgeRefusing", severity: page, about: "all tokens are refused", series: []string{asked("200", "0+1x40"), asked("401", "0+50x40")}, at: 2 * time.Minute, fires: []string{edge + `, code="401"`}},
		{alert: "EdgeRefusing", severity: page, about: "one burst is refused", series: []string{asked("200", "0+100x40"), asked("429", "0x4 9000x40")}, at: 150 * time.Second},
		{alert: "EdgeRefusing", severity: page, about: "a scanner causes most of a quiet night's requests", series: []string{asked("200", "0+1x40"), asked("404", "0+9x40")}, at: 5 * time.Minute},
		{alert: "EdgeRefusing", severity: page, about: "six of ten requests get 404, as on the day before", judged: time.Hour,
			series: []string{asked("200", "0+60x6400"), asked("404", "0+90x6400")}, at: 26 * time.Hour},

		{alert: "EdgeFailing", severity: page, about: "suddenly all requests return 502, which none returned before",
			series: []string{asked("200", "0+100x4 400x20"), asked("502", "_x5 10+90x20")}, at: 135 * time.Second, fires: []string{edge}},
		{alert: "EdgeFailing", severity: page, about: "a tenth of the requests returns 500",
			series: []string{asked("200", "0+90x40"), asked("500", "0+10x40")}, at: 5 * time.Minute},
		{alert: "EdgeFailing", severity: page, about: "the only two requests of a quiet night fail",
			series: []string{asked("200", "10x40"), asked("500", "0x6 1 2x30")}, at: 2 * time.Minute},
		{alert: "EdgeFailing", severity: page, about: "probes of the edge itself fail, no user's requests",
			series: []string{asked("200", "0+90x40"), `traefik_entrypoint_requests_total{job="edge", entrypoint="ops", code="503"} 0+900x40`}, at: 5 * time.Minute},

		{alert: "EdgeTrafficGone", about: "nobody comes, where a week ago somebody came each second", step: 10 * time.Minute, judged: time.Hour,
			series: []string{visited("a", "0+600x1010 606000x40")}, at: 170 * time.Hour, fires: []string{edge}},
		{alert: "EdgeTrafficGone", about: "nobody comes but Prometheus, where a week ago somebody came each second", step: 10 * time.Minute, judged: time.Hour,
			series: []string{visited("a", "0+600x1010 606000x40"), asked("200", "0+640x1010 646400+40x40")}, at: 170 * time.Hour, fires: []string{edge}},
		{alert: "EdgeTrafficGone", about: "nobody comes to replicas that have just been replaced, where a week ago somebody came each second", step: 10 * time.Minute, judged: time.Hour,
			series: []string{visited("a", "0+600x1010 stale"), visited("b", "_x1010 0x40"), asked("200", "0+600x1010 stale")}, at: 170 * time.Hour, fires: []string{edge}},
		{alert: "EdgeTrafficGone", about: "a third of the users of the week before comes", step: 10 * time.Minute, judged: time.Hour,
			series: []string{visited("a", "0+600x1010 606000+200x40"), asked("200", "0+640x1010 646400+240x40")}, at: 170 * time.Hour},
		{alert: "EdgeTrafficGone", about: "nobody comes, where a week ago somebody came each minute", step: 10 * time.Minute, judged: time.Hour,
			series: []string{visited("a", "0+10x1010 10100x40")}, at: 170 * time.Hour},
		{alert: "EdgeTrafficGone", about: "nobody comes, in the first week", step: 10 * time.Minute, judged: time.Hour,
			series: []string{visited("a", "0+600x30 18000x40")}, at: 10 * time.Hour},
	}
}

func releaseExamples() []example {
	condition := func(status, values string) string {
		return fmt.Sprintf(`kube_deployment_status_condition{job="kube-state-metrics", namespace="apps", deployment="user-service-green", condition="Progressing", status="%s"} %s`, status, values)
	}
	generation := func(metric, values string) string {
		return fmt.Sprintf(`kube_deployment_%s{job="kube-state-metrics", namespace="apps", deployment="user-service-green"} %s`, metric, values)
	}
	const stuck = `job="user-service", namespace="apps", deployment="user-service-green"`
	blue, green := replica("user-service", "b", "blue", "1x200", "1x200", "1x200"), replica("user-service", "g", "green", "1x200", "1x200", "0x200")
	answered := func(colour, values string) []string {
		return []string{fmt.Sprintf(`service_last_answer_timestamp_seconds{job="user-service", namespace="apps", colour="%s", pod="%[1]s"} %s`, colour, values)}
	}
	return []example{
		{alert: "ReleaseStuck", about: "the standby version runs for more than an hour after its time", series: slices.Concat(blue, green, answered("blue", "0x200"), answered("green", "0+60x200")),
			step: time.Minute, at: 100 * time.Minute, fires: []string{`job="user-service"`}},
		{alert: "ReleaseStuck", about: "a candidate that never responded keeps running", series: slices.Concat(blue, green, answered("blue", "0+60x200"), answered("green", "0x200")),
			step: time.Minute, at: 100 * time.Minute, fires: []string{`job="user-service"`}},
		{alert: "ReleaseStuck", about: "one version after the other is released, each within the time of the one before",
			series: slices.Concat(blue, green, answered("blue", "0+60x60 3600x60 7200+60x80"), answered("green", "0x60 3600+60x60 7200x80")), step: time.Minute, at: 155 * time.Minute},
		{alert: "ReleaseStuck", about: "what stood by was retired in time",
			series: slices.Concat(blue, replica("user-service", "g", "green", "1x32 stale", "1x32 stale", "0x32 stale"), answered("blue", "0+60x200"), answered("green", "0x32 stale")),
			step:   time.Minute, at: 155 * time.Minute},
		{alert: "ReleaseStuck", about: "two replicas of one colour run for hours",
			series: slices.Concat(blue, replica("user-service", "c", "blue", "1x200", "1x200", "1x200"), answered("blue", "0x200")), step: time.Minute, at: 155 * time.Minute},
		{alert: "RolloutStuck", about: "a rollout passes its deadline", series: []string{condition("false", "0x4 1x20"), condition("true", "1x4 0x20")}, at: 3 * time.Minute, fires: []string{stuck}},
		{alert: "RolloutStuck", about: "nothing observes the change of a Deployment", series: []string{generation("metadata_generation", "3x4 4x20"), generation("status_observed_generation", "3x40")},
			at: 3 * time.Minute, fires: []string{stuck}},
		{alert: "RolloutStuck", about: "a rollout goes on", series: []string{condition("false", "0x20"), condition("true", "1x20")}, at: 3 * time.Minute},
	}
}

// pod is the series of kube-state-metrics for the pod in the examples of workloads.
func pod(more ...string) []string {
	const one = `job="kube-state-metrics", namespace="apps", pod="user-service-blue-1"`
	series := []string{
		`kube_pod_info{` + one + `, node="n1"} 1x200`,
		`kube_pod_labels{` + one + `, label_app_kubernetes_io_name="user-service", label_colour="blue"} 1x200`,
	}
	for _, line := range more {
		var metric, rest string
		for i, letter := range line {
			if letter == '{' {
				metric, rest = line[:i], line[i+1:]
			}
		}
		if rest[0] != '}' {
			rest = ", " + rest
		}
		series = append(series, metric+"{"+one+`, container="user-service"`+rest)
	}
	return series
}

func workloadExamples() []example {
	const thePod = `job="user-service", namespace="apps", pod="user-service-blue-1", container="user-service", node="n1"`
	ksm := func(metric, labels, values string) string {
		return fmt.Sprintf(`%s{job="kube-state-metrics", namespace="apps", %s} %s`, metric, labels, values)
	}
	instance := func(pod, values string) string {
		return fmt.Sprintf(`kube_pod_status_ready{job="kube-state-metrics", namespace="data", pod="%s", condition="true"} %s`, pod, values)
	}
	short := func(kind, name, ready, wanted string) []example {
		matchers := fmt.Sprintf(`kind="%s"`, kind)
		labels := fmt.Sprintf(`%s="%s"`, kind, name)
		return []example{
			{alert: "ReplicasShort", matchers: matchers, about: "a replica is missing for more than ten minutes", step: time.Minute, at: 15 * time.Minute,
				series: []string{ksm(ready, labels, "2x2 1x30"), ksm(wanted, labels, "2x40")},
				fires:  []string{`job="user-service", namespace="apps", ` + matchers + ", " + labels}},
			{alert: "ReplicasShort", matchers: matchers, about: "a replica is replaced within a few minutes", step: time.Minute, at: 15 * time.Minute,
				series: []string{ksm(ready, labels, "2x2 1x4 2x30"), ksm(wanted, labels, "2x40")}},
		}
	}
	scaler := func(desired string) []string {
		const labels = `horizontalpodautoscaler="user-service-blue"`
		return []string{
			ksm("kube_horizontalpodautoscaler_status_desired_replicas", labels, desired),
			ksm("kube_horizontalpodautoscaler_spec_max_replicas", labels, "4x40"),
			ksm("kube_horizontalpodautoscaler_spec_min_replicas", labels, "2x40"),
		}
	}
	inactive := func(desired, current string) []string {
		const labels = `horizontalpodautoscaler="user-service-blue"`
		return append(scaler(desired), ksm("kube_horizontalpodautoscaler_status_current_replicas", labels, current),
			ksm("kube_horizontalpodautoscaler_status_condition", labels+`, condition="ScalingActive", status="false"`, "1x40"))
	}
	return slices.Concat([]example{
		{alert: "PodCrashLooping", about: "a container has restarted four times in ten minutes", step: time.Minute, at: 14 * time.Minute,
			series: pod(`kube_pod_container_status_restarts_total{} 0x3 1 1 2 2 3 3 4x20`), fires: []string{thePod}},
		{alert: "PodCrashLooping", about: "the kubelet waits before it starts a container again", at: 5 * time.Minute,
			series: pod(`kube_pod_container_status_waiting_reason{reason="CrashLoopBackOff"} _x5 1x30`), fires: []string{thePod}},
		{alert: "PodCrashLooping", about: "a container has restarted once", step: time.Minute, at: 14 * time.Minute,
			series: pod(`kube_pod_container_status_restarts_total{} 0x3 1x20`)},
		{alert: "PodOutOfMemory", about: "a container was killed beyond its memory limit", step: time.Minute, at: 6 * time.Minute,
			series: pod(`kube_pod_container_status_last_terminated_reason{reason="OOMKilled"} _x3 1x30`, `kube_pod_container_status_restarts_total{} 0x3 1x30`),
			fires:  []string{thePod}},
		{alert: "PodOutOfMemory", about: "a container was killed so an hour ago", step: time.Minute, at: time.Hour,
			series: pod(`kube_pod_container_status_last_terminated_reason{reason="OOMKilled"} _x3 1x90`, `kube_pod_container_status_restarts_total{} 0x3 1x90`)},
		{alert: "PodOutOfMemory", about: "a container ended with an error", step: time.Minute, at: 6 * time.Minute,
			series: pod(`kube_pod_container_status_last_terminated_reason{reason="Error"} _x3 1x30`, `kube_pod_container_status_restarts_total{} 0x3 1x30`)},
		{alert: "PodOutOfMemory", about: "a process of a container was killed, and the container wasn't", step: time.Minute, at: 6 * time.Minute,
			series: pod(`container_oom_events_total{} 0x3 1x30`), fires: []string{thePod}},
		{alert: "AutoscalerInactive", about: "the metrics of the pods are missing", step: time.Minute, at: 15 * time.Minute, series: inactive("2x40", "2x40"),
			fires: []string{`job="user-service", namespace="apps", horizontalpodautoscaler="user-service-blue"`}},
		{alert: "AutoscalerInactive", about: "a new autoscaler has never got metrics, and so has never wanted a number of replicas", step: time.Minute, at: 15 * time.Minute, series: inactive("0x40", "2x40"),
			fires: []string{`job="user-service", namespace="apps", horizontalpodautoscaler="user-service-blue"`}},
		{alert: "AutoscalerInactive", about: "the Deployment of a standby version has no replicas", step: time.Minute, at: 15 * time.Minute, series: inactive("0x40", "0x40")},
		{alert: "AutoscalerAtLimit", about: "the maximum is wanted for twenty minutes", step: time.Minute, at: 25 * time.Minute, series: scaler("2x3 4x40"),
			fires: []string{`job="user-service", namespace="apps", horizontalpodautoscaler="user-service-blue"`}},
		{alert: "AutoscalerAtLimit", about: "one less than the maximum is wanted", step: time.Minute, at: 25 * time.Minute, series: scaler("3x40")},
		{alert: "JobFailed", about: "a Job was tried as often as it may be", at: time.Minute, series: []string{ksm("kube_job_failed", `job_name="order-service-migrate", condition="true"`, "1x40")},
			fires: []string{`job="order-service-migrate", namespace="apps", job_name="order-service-migrate", condition="true"`}},
		{alert: "JobFailed", about: "a Job of somebody else fails", at: time.Minute,
			series: []string{`kube_job_failed{job="kube-state-metrics", namespace="team-b", job_name="nightly", condition="true"} 1x40`}},
		{alert: "JobFailed", about: "a Job is done", at: time.Minute, series: []string{ksm("kube_job_failed", `job_name="order-service-migrate", condition="true"`, "0x40")}},
	},
		short("deployment", "user-service-blue", "kube_deployment_status_replicas_available", "kube_deployment_spec_replicas"),
		short("statefulset", "user-service", "kube_statefulset_status_replicas_ready", "kube_statefulset_replicas"),
		[]example{
			{alert: "ReplicasShort", matchers: `kind="pod"`, about: "no node has room for a standby of Postgres", step: time.Minute, at: 15 * time.Minute,
				series: []string{instance("postgres-1-1", "1x40"), instance("postgres-1-2", "1x2 0x40")},
				fires:  []string{`job="postgres", namespace="data", kind="pod", pod="postgres-1-2"`}},
			{alert: "ReplicasShort", matchers: `kind="pod"`, about: "a standby of Postgres restarts", step: time.Minute, at: 15 * time.Minute,
				series: []string{instance("postgres-1-1", "1x40"), instance("postgres-1-2", "1x2 0x4 1x40")}},
			{alert: "ReplicasShort", matchers: `kind="pod"`, about: "an archive is restored beside for hours", step: time.Minute, at: 15 * time.Minute,
				series: []string{instance("postgres-1-1", "1x40"), instance("postgres-2-1-full-recovery-x7k2p", "0x40")}},
		},
		short("daemonset", "user-service", "kube_daemonset_status_number_ready", "kube_daemonset_status_desired_number_scheduled"))
}

func nodeExamples() []example {
	condition := func(name, values string) []string {
		return []string{fmt.Sprintf(`kube_node_status_condition{job="kube-state-metrics", node="n1", condition="%s", status="true"} %s`, name, values)}
	}
	exported := func(metric, labels, values string) string {
		return fmt.Sprintf(`%s{job="node-exporter", node="n1", instance="10.0.0.9:9100"%s} %s`, metric, labels, values)
	}
	memory := func(available string) []string {
		return []string{exported("node_memory_MemAvailable_bytes", "", available), exported("node_memory_MemTotal_bytes", "", "1000x200")}
	}
	disk := func(device, kind, available string) []string {
		labels := fmt.Sprintf(`, device="%s", fstype="%s", mountpoint="/node"`, device, kind)
		return []string{exported("node_filesystem_avail_bytes", labels, available), exported("node_filesystem_size_bytes", labels, "1000x200")}
	}
	const node, onDisk = `job="node", node="n1"`, `job="node", node="n1", device="/dev/vda"`
	return []example{
		{alert: "NodeNotReady", severity: catalog.Page, about: "a node is silent for more than a minute", series: condition("Ready", "1x4 0x20"), at: 3 * time.Minute, fires: []string{node}},
		{alert: "NodeNotReady", severity: catalog.Page, about: "a node is ready", series: condition("Ready", "1x40"), at: 3 * time.Minute},
		{alert: "NodeNotReady", severity: catalog.Page, about: "a node doesn't respond, and no controller manager reports it", at: 3 * time.Minute, fires: []string{node}, series: slices.Concat(
			condition("Ready", "1x40"), []string{`up{job="kubelet", node="n1"} 1x4 0x20`, `up{job="node-exporter", node="n1", namespace="monitoring", pod="a"} 1x4 0x20`})},
		{alert: "NodeNotReady", severity: catalog.Page, about: "a node was drained and is updated", at: 3 * time.Minute,
			series: append(condition("Ready", "1x4 0x20"), `kube_node_spec_unschedulable{job="kube-state-metrics", node="n1"} 1x40`)},
		{alert: "NodeNotReady", severity: catalog.Page, about: "the kubelet refuses to be scraped, and the node works", at: 3 * time.Minute, series: slices.Concat(
			condition("Ready", "1x40"), []string{`up{job="kubelet", node="n1"} 0x40`, `up{job="node-exporter", node="n1", namespace="monitoring", pod="a"} 1x40`})},
		{alert: "NodeNotReady", severity: catalog.Page, about: "a node joins the cluster, and its network starts for three minutes", at: 3 * time.Minute,
			series: append(condition("Ready", "_x2 0x10 1x40"), `kube_node_created{job="kube-state-metrics", node="n1"} _x2 20x60`)},
		{alert: "NodeNotReady", severity: catalog.Page, about: "a node has joined a quarter of an hour ago, and isn't ready yet", at: 17 * time.Minute, fires: []string{node},
			series: append(condition("Ready", "_x2 0x80"), `kube_node_created{job="kube-state-metrics", node="n1"} _x2 20x80`)},
		{alert: "NodePressure", about: "a node is short of disk", series: condition("DiskPressure", "1x40"), at: 3 * time.Minute, fires: []string{node + `, condition="DiskPressure"`}},
		{alert: "NodePressure", about: "a node is ready and under no pressure", series: slices.Concat(condition("Ready", "1x40"), condition("DiskPressure", "0x40")), at: 3 * time.Minute},
		{alert: "NodeMemoryLow", about: "a twentieth of the memory is available", series: memory("50x200"), step: time.Minute, at: 15 * time.Minute, fires: []string{node}},
		{alert: "NodeMemoryLow", about: "a fifth of the memory is available", series: memory("200x200"), step: time.Minute, at: 15 * time.Minute},
		{alert: "NodeDiskFilling", about: "a disk loses as much as it has free each day", series: disk("/dev/vda", "ext4", "280-1x200"), step: 5 * time.Minute, at: 8 * time.Hour, fires: []string{onDisk}},
		{alert: "NodeDiskFilling", about: "a disk loses a tenth of that", series: disk("/dev/vda", "ext4", "280-0.1x200"), step: 5 * time.Minute, at: 8 * time.Hour},
		{alert: "NodeDiskFilling", about: "an installation filled a disk for two hours, and has ended for two", series: disk("/dev/vda", "ext4", "290x80 290-4x24 194x60"), step: 5 * time.Minute, at: 11 * time.Hour},
		{alert: "NodeDiskFilling", about: "a disk that is known for an hour loses as much as it has free each day", series: disk("/dev/vda", "ext4", "280-1x200"), step: 5 * time.Minute, at: 2 * time.Hour},
		{alert: "NodeDiskFull", severity: catalog.Page, about: "a disk has no inodes left", at: 3 * time.Minute, fires: []string{onDisk}, series: append(disk("/dev/vda", "ext4", "900x40"),
			exported("node_filesystem_files_free", `, device="/dev/vda", fstype="ext4", mountpoint="/node"`, "1x40"), exported("node_filesystem_files", `, device="/dev/vda", fstype="ext4", mountpoint="/node"`, "1000x40"))},
		// The examples begin in 1970: the right time is that since the beginning.
		{alert: "NodeClockSkew", about: "a node's clock is a minute fast", series: []string{exported("node_time_seconds", "", "60+15x60")}, at: 8 * time.Minute, fires: []string{node}},
		{alert: "NodeClockSkew", about: "a node's clock is right", series: []string{exported("node_time_seconds", "", "0.4+15x60")}, at: 8 * time.Minute},
		{alert: "NodeDiskFull", severity: catalog.Page, about: "a disk has 2 % left", series: disk("/dev/vda", "ext4", "20x40"), at: 3 * time.Minute, fires: []string{onDisk}},
		{alert: "NodeDiskFull", severity: catalog.Page, about: "a disk has 10 % left", series: disk("/dev/vda", "ext4", "100x40"), at: 3 * time.Minute},
		{alert: "NodeDiskFull", severity: catalog.Page, about: "a folder in memory is full", series: disk("tmpfs", "tmpfs", "0x40"), at: 3 * time.Minute},
	}
}

func storageExamples() []example {
	of := func(name, available string) []string {
		labels := `{job="kubelet", node="n1", namespace="data", persistentvolumeclaim="` + name + `"} `
		return []string{"kubelet_volume_stats_available_bytes" + labels + available, "kubelet_volume_stats_capacity_bytes" + labels + "1000x200"}
	}
	volume := func(available string) []string { return of("postgres-1-1", available) }
	const claim = `job="postgres", namespace="data", persistentvolumeclaim="postgres-1-1"`
	ends := func(cn, serial, values string) string {
		return fmt.Sprintf(`traefik_tls_certs_not_after{job="edge", pod="a", cn="%s", sans="localhost", serial="%s"} %s`, cn, serial, values)
	}
	cronJob := func(values string) []string {
		return []string{`kube_cronjob_status_last_successful_time{job="kube-state-metrics", namespace="data", cronjob="certificates"} ` + values}
	}
	const edge, authority, renewed = `job="edge"`, `job="certificate-authority"`, `job="certificates"`
	return []example{
		{alert: "VolumeFilling", about: "a volume loses as much as it has free each day", series: volume("280-1x200"), step: 5 * time.Minute, at: 8 * time.Hour, fires: []string{claim}},
		{alert: "VolumeFilling", about: "a volume loses a tenth of that", series: volume("280-0.1x200"), step: 5 * time.Minute, at: 8 * time.Hour},
		{alert: "VolumeFilling", about: "a volume loses as much, and is a folder on the node's disk", step: 5 * time.Minute, at: 8 * time.Hour,
			series: append(volume("280-1x200"), `node_filesystem_size_bytes{job="node-exporter", node="n1", device="/dev/vda", mountpoint="/node"} 1000x200`)},
		{alert: "VolumeFull", severity: catalog.Page, about: "a volume on a folder of the node's disk has 2 % left", at: 3 * time.Minute,
			series: append(volume("20x200"), `node_filesystem_size_bytes{job="node-exporter", node="n1", device="/dev/vda", mountpoint="/node"} 1000x200`)},
		{alert: "VolumeFull", severity: catalog.Page, about: "a volume has 2 % left", series: volume("20x200"), at: 3 * time.Minute, fires: []string{claim}},
		{alert: "VolumeFull", severity: catalog.Page, about: "a volume of somebody else has 2 % left", at: 3 * time.Minute, series: []string{
			`kubelet_volume_stats_available_bytes{job="kubelet", namespace="team-b", persistentvolumeclaim="data-db-0"} 20x200`,
			`kubelet_volume_stats_capacity_bytes{job="kubelet", namespace="team-b", persistentvolumeclaim="data-db-0"} 1000x200`}},
		{alert: "VolumeFull", severity: catalog.Page, about: "a volume of a StatefulSet has 2 % left", series: of("data-redis-stream-0", "20x200"), at: 3 * time.Minute,
			fires: []string{`job="redis-stream", namespace="data", persistentvolumeclaim="data-redis-stream-0"`}},
		{alert: "VolumeFull", severity: catalog.Page, about: "a volume has 10 % left", series: volume("100x200"), at: 3 * time.Minute},

		// The examples begin in 1970: the timestamp is what is left.
		{alert: "CertificateEnds", matchers: edge, about: "the edge's certificate has twenty days left", series: []string{ends("a", "1", "1728000x60")}, at: 10 * time.Minute, fires: []string{edge}},
		{alert: "CertificateEnds", matchers: edge, about: "the edge's certificate has thirty days left", series: []string{ends("a", "1", "2592000x60")}, at: 10 * time.Minute},
		{alert: "CertificateEnds", matchers: edge, about: "a certificate that has been replaced ends tomorrow", series: []string{ends("a", "1", "86400x60"), ends("a", "2", "9999999x60")}, at: 10 * time.Minute},
		{alert: "CertificateEnds", matchers: edge, about: "the certificate ends that Traefik makes itself and shows nobody", series: []string{ends("TRAEFIK DEFAULT CERT", "1", "86400x60"), ends("a", "2", "9999999x60")}, at: 10 * time.Minute},
		{alert: "CertificateEnds", matchers: authority, about: "the authority has twenty days left", at: 10 * time.Minute, fires: []string{authority}},
		{alert: "CertificateEnds", matchers: renewed, about: "certificates were last renewed ten days ago", series: cronJob("-864000x60"), at: 10 * time.Minute, fires: []string{renewed}},
		{alert: "CertificateEnds", matchers: renewed, about: "certificates were last renewed yesterday", series: cronJob("-86400x60"), at: 10 * time.Minute},
		{alert: "CertificateEnds", matchers: renewed, about: "certificates weren't renewed since the stack was created ten days ago", at: 10 * time.Minute, fires: []string{renewed},
			series: []string{`kube_cronjob_created{job="kube-state-metrics", namespace="data", cronjob="certificates"} -864000x60`}},
		{alert: "CertificateEnds", severity: catalog.Page, matchers: renewed, about: "certificates were last renewed 28 days ago", series: cronJob("-2419200x60"), at: 10 * time.Minute, fires: []string{renewed}},
		{alert: "CertificateEnds", severity: catalog.Page, matchers: edge, about: "the edge's certificate ends the day after tomorrow", series: []string{ends("a", "1", "172800x60")}, at: 10 * time.Minute, fires: []string{edge}},
		{alert: "CertificateEnds", severity: catalog.Page, matchers: edge, about: "the edge's certificate has a week left", series: []string{ends("a", "1", "604800x60")}, at: 10 * time.Minute},
		{alert: "CertificateEnds", severity: catalog.Page, about: "the authority has weeks left", at: 10 * time.Minute},
	}
}

func storeExamples() []example {
	const page = catalog.Page
	cache := func(metric, values string) string { return metric + `{job="redis-cache-exporter"} ` + values }
	stream := func(metric, values string) string { return metric + `{job="redis-stream-exporter"} ` + values }
	// The stream has three instances; a is the primary until it is lost.
	instances := func(first, second, replicas string) []string {
		const of = `{job="redis-stream-exporter", instance=`
		return []string{
			`redis_up` + of + `"a"} ` + first, `redis_instance_info` + of + `"a", role="master"} ` + first, `redis_connected_slaves` + of + `"a"} ` + replicas,
			`redis_up` + of + `"b"} ` + second, `redis_instance_info` + of + `"b", role="slave"} 1x40`, `redis_connected_slaves` + of + `"b"} 0x40`,
			`redis_up` + of + `"c"} 1x40`, `redis_instance_info` + of + `"c", role="slave"} 1x40`, `redis_connected_slaves` + of + `"c"} 0x40`,
		}
	}
	connections := func(open string) []string {
		return []string{
			`pg_stat_activity_count{job="postgres-exporter", usename="user_service", state="idle", backend_type="client backend"} ` + open,
			`pg_stat_activity_count{job="postgres-exporter", usename="user_service", state="active", backend_type="client backend"} 10x40`,
			`pg_stat_activity_count{job="postgres-exporter", usename="", state="", backend_type="checkpointer"} 1x40`,
			`pg_roles_connection_limit{job="postgres-exporter", rolname="user_service"} 50x40`,
			`pg_roles_connection_limit{job="postgres-exporter", rolname="postgres"} -1x40`,
			`pg_settings_max_connections{job="postgres-exporter"} 60x40`,
		}
	}
	const postgres, onCache, onStream = `job="postgres"`, `job="redis-cache"`, `job="redis-stream"`
	used := func(values string) []string {
		return []string{stream("redis_memory_used_bytes", values), stream("redis_memory_max_bytes", "100x100"), cache("redis_memory_used_bytes", "100x100"), cache("redis_memory_max_bytes", "100x100")}
	}
	const ofOrders = `job="postgres", datname="orders"`
	exported := func(metric, labels, values string) string {
		return fmt.Sprintf(`pg_%s{job="postgres-exporter", instance="a", %s} %s`, metric, labels, values)
	}
	claimed := func(values string) string {
		return `kube_persistentvolumeclaim_created{job="kube-state-metrics", namespace="data", persistentvolumeclaim="postgres-1-1"} ` + values
	}
	newPostgres := []string{`pg_up{job="postgres-exporter"} 0x70`, `kube_service_created{job="kube-state-metrics", namespace="data", service="postgres-1-rw"} 0x70`}
	hanging := func(errors string) []string {
		const pod = `namespace="monitoring", pod="e"`
		return []string{`pg_up{job="postgres-exporter"} 1x3 _x20`, `up{job="postgres-exporter", ` + pod + `} 1x3 0x20`, `kube_pod_status_ready{condition="true", ` + pod + `} 1x30`,
			`job:errors:rate5m{job="user-service"} ` + errors}
	}
	return []example{
		{alert: "PostgresDown", severity: page, about: "the server hangs, and requests fail", series: hanging("0x3 9x20"), at: 2 * time.Minute, fires: []string{postgres}},
		{alert: "PostgresDown", severity: page, about: "the exporter hangs, and no request fails", series: hanging("0x30"), at: 2 * time.Minute},
		{alert: "PostgresDown", severity: page, about: "the exporter hangs, and one request failed a while ago", series: hanging("0.0034x30"), at: 2 * time.Minute},
		{alert: "PostgresDown", severity: page, about: "the exporter can't sign in", series: []string{`pg_up{job="postgres-exporter"} 1x3 0x20`}, at: 2 * time.Minute, fires: []string{postgres}},
		{alert: "PostgresDown", severity: page, about: "the platform was created five minutes ago, and Postgres hasn't started", series: newPostgres, at: 5 * time.Minute},
		{alert: "PostgresDown", severity: page, about: "the platform was created a quarter of an hour ago, and Postgres hasn't started", series: newPostgres, at: 15 * time.Minute, fires: []string{postgres}},
		{alert: "PostgresDown", severity: page, about: "the platform was created five minutes ago, and Postgres started and failed", at: 5 * time.Minute, fires: []string{postgres},
			series: []string{`pg_up{job="postgres-exporter"} 0x6 1x8 0x20`, newPostgres[1]}},
		{alert: "PostgresDown", severity: page, about: "Postgres is down while a restored one starts beside it", at: 2 * time.Minute, fires: []string{postgres},
			series: append(newPostgres, `kube_service_created{job="kube-state-metrics", namespace="data", service="postgres-2-rw"} -3600x20`)},
		{alert: "PostgresDown", severity: page, about: "one sign-in fails", series: []string{`pg_up{job="postgres-exporter"} 1x3 0 1x20`}, at: 75 * time.Second},
		{alert: "PostgresConnections", matchers: `limit="role"`, about: "a role holds nine tenths of its connections", series: connections("35x40"), at: 7 * time.Minute,
			fires: []string{postgres + `, usename="user_service", limit="role"`}},
		{alert: "PostgresConnections", matchers: `limit="role"`, about: "a role holds six tenths of its connections", series: connections("20x40"), at: 7 * time.Minute},
		{alert: "PostgresConnections", matchers: `limit="server"`, about: "five sixths of the server's connections are open", series: connections("40x40"), at: 7 * time.Minute, fires: []string{postgres + `, limit="server"`}},
		{alert: "PostgresConnections", matchers: `limit="server"`, about: "half of the server's connections are open", series: connections("20x40"), at: 7 * time.Minute},
		{alert: "PostgresConnections", matchers: `limit="pooler"`, about: "a transaction waits for seconds", series: []string{`cnpg_pgbouncer_pools_maxwait{job="postgres-pooler", database="orders"} 3x40`}, at: 7 * time.Minute,
			fires: []string{`job="postgres-pooler", limit="pooler"`}},
		{alert: "PostgresConnections", matchers: `limit="pooler"`, about: "no transaction waits", series: []string{`cnpg_pgbouncer_pools_maxwait{job="postgres-pooler", database="orders"} 0x40`}, at: 7 * time.Minute},
		{alert: "PostgresDeadlocks", about: "a transaction was aborted", series: []string{exported("stat_database_deadlocks", `datname="orders"`, "0x3 1x20")}, at: 3 * time.Minute, fires: []string{ofOrders}},
		{alert: "PostgresDeadlocks", about: "a transaction was aborted yesterday", series: []string{exported("stat_database_deadlocks", `datname="orders"`, "1x40")}, at: 3 * time.Minute},
		{alert: "PostgresTransactionOld", about: "a transaction has run for an hour", series: []string{exported("long_running_transactions_oldest_timestamp_seconds", "", "3600+15x40")}, at: 3 * time.Minute, fires: []string{postgres}},
		{alert: "PostgresTransactionOld", about: "a transaction has run for ten minutes", series: []string{exported("long_running_transactions_oldest_timestamp_seconds", "", "600x40")}, at: 3 * time.Minute},
		{alert: "PostgresWraparound", about: "a database isn't vacuumed", series: []string{exported("database_wraparound_age_datfrozenxid_seconds", `datname="orders"`, "1200000000x60")},
			at: 12 * time.Minute, fires: []string{ofOrders}},
		{alert: "PostgresWraparound", about: "a database is vacuumed each 200 million transactions", series: []string{exported("database_wraparound_age_datfrozenxid_seconds", `datname="orders"`, "200000000x60")}, at: 12 * time.Minute},
		{alert: "ArchiveLagging", about: "the object store is unreachable", series: []string{`cnpg_collector_pg_wal_archive_status{job="postgres", value="ready"} 0+1x60`}, at: 12 * time.Minute, fires: []string{postgres}},
		{alert: "ArchiveLagging", about: "each file is archived", series: []string{`cnpg_collector_pg_wal_archive_status{job="postgres", value="ready"} 1x60`, `cnpg_collector_pg_wal_archive_status{job="postgres", value="done"} 9x60`}, at: 12 * time.Minute},
		{alert: "BackupOld", about: "the nightly backups have stopped", series: []string{`cnpg_collector_last_available_backup_timestamp{job="postgres"} 60x1700`}, step: time.Minute, judged: 15 * time.Minute, at: 27 * time.Hour, fires: []string{postgres}},
		{alert: "BackupOld", about: "the first backup neither ends nor fails", series: []string{`cnpg_collector_last_available_backup_timestamp{job="postgres"} 0x1700`, claimed("0x1700")}, step: time.Minute, judged: 15 * time.Minute, at: 27 * time.Hour, fires: []string{postgres}},
		{alert: "BackupOld", about: "the first backup takes hours", series: []string{`cnpg_collector_last_available_backup_timestamp{job="postgres"} 0x400`, claimed("0x400")}, step: time.Minute, judged: 15 * time.Minute, at: 6 * time.Hour},
		{alert: "BackupOld", about: "a restored cluster makes its first backup, and the volumes of the former one are old", step: time.Minute, judged: 15 * time.Minute, at: 6 * time.Hour,
			series: []string{`cnpg_collector_last_available_backup_timestamp{job="postgres"} 0x400`, claimed("-9999999x400"), strings.Replace(claimed("0x400"), "postgres-1-1", "postgres-2-1", 1)}},
		{alert: "BackupOld", about: "the first backup failed", series: []string{`cnpg_collector_last_available_backup_timestamp{job="postgres"} 0x80`, `cnpg_collector_last_failed_backup_timestamp{job="postgres"} 10x80`}, at: 17 * time.Minute, fires: []string{postgres}},
		{alert: "BackupOld", about: "a backup succeeded after one that failed", series: []string{`cnpg_collector_last_available_backup_timestamp{job="postgres"} 20x80`, `cnpg_collector_last_failed_backup_timestamp{job="postgres"} 10x80`}, at: 17 * time.Minute},
		{alert: "BackupUntested", about: "no backup was ever restored", series: []string{`kube_persistentvolumeclaim_created{namespace="data", persistentvolumeclaim="postgres-1-1"} 0x1000`}, step: time.Hour, judged: time.Hour, at: 36 * 24 * time.Hour, fires: []string{postgres}},
		{alert: "BackupUntested", about: "the last drill is six weeks old", series: []string{`kube_configmap_created{namespace="data", configmap="restore-drill"} 60x1100`}, step: time.Hour, judged: time.Hour, at: 42 * 24 * time.Hour, fires: []string{postgres}},
		{alert: "BackupUntested", about: "a drill after six weeks", series: []string{`kube_persistentvolumeclaim_created{namespace="data", persistentvolumeclaim="postgres-1-1"} 0x1100`, `kube_configmap_created{namespace="data", configmap="restore-drill"} 3600000x1100`},
			step: time.Hour, judged: time.Hour, at: 42 * 24 * time.Hour},
		{alert: "RedisDown", severity: page, about: "the stream has no primary", series: instances("1x3 stale", "1x40", "2x3 stale"), at: 2 * time.Minute, fires: []string{onStream}},
		{alert: "RedisDown", severity: page, about: "the primary of the stream has no replica", series: instances("1x40", "1x40", "2x3 0x20"), at: 2 * time.Minute, fires: []string{onStream}},
		{alert: "RedisDown", severity: page, about: "a replica of the stream is away, which is only a ticket", series: instances("1x40", "0x40", "1x40"), at: 2 * time.Minute},
		{alert: "RedisDown", severity: page, about: "the cache doesn't respond, which is only a ticket", series: append(instances("1x40", "1x40", "2x40"), cache("redis_up", "0x40")), at: 2 * time.Minute},
		{alert: "ReplicaDown", about: "a replica of the stream is away", series: instances("1x40", "0x40", "1x40"), at: 7 * time.Minute, fires: []string{onStream}},
		{alert: "ReplicaDown", about: "the primary of the stream has two replicas", series: instances("1x40", "1x40", "2x40"), at: 7 * time.Minute},
		{alert: "RedisDown", about: "the cache is away", series: []string{cache("redis_up", "1x3 0x20")}, at: 2 * time.Minute, fires: []string{onCache}},
		{alert: "RedisDown", about: "the cache responds", series: []string{cache("redis_up", "1x40")}, at: 2 * time.Minute},
		{alert: "StreamMemory", severity: page, about: "the stream has 3 % left", series: used("97x100"), at: 5 * time.Minute, fires: []string{onStream}},
		{alert: "StreamMemory", severity: page, about: "the stream has a tenth left, and the cache is full as it should be", series: used("90x100"), at: 5 * time.Minute},
		{alert: "StreamMemory", about: "the stream has had a tenth left for a while", series: used("90x100"), at: 15 * time.Minute, fires: []string{onStream}},
		{alert: "StreamMemory", about: "the stream is half full", series: used("50x100"), at: 15 * time.Minute},
		{alert: "StreamNotPersisting", severity: page, about: "the append-only file can't be written", series: []string{stream("redis_aof_last_write_status", "1x3 0x20"), stream("redis_aof_last_bgrewrite_status", "1x40")},
			at: 3 * time.Minute, fires: []string{onStream}},
		{alert: "StreamNotPersisting", severity: page, about: "the append-only file is off", series: []string{stream("redis_aof_enabled", "0x40"), stream("redis_aof_last_write_status", "1x40")}, at: 3 * time.Minute, fires: []string{onStream}},
		{alert: "StreamNotPersisting", severity: page, about: "the append-only file is written", series: []string{stream("redis_aof_enabled", "1x40"), stream("redis_aof_last_write_status", "1x40"), stream("redis_aof_last_bgrewrite_status", "1x40")}, at: 3 * time.Minute},
		{alert: "RedisRejectsConnections", about: "connections are refused", series: []string{cache("redis_rejected_connections_total", "0x3 0+1x20")}, at: 3 * time.Minute, fires: []string{onCache}},
		{alert: "RedisRejectsConnections", about: "all connections were refused for ten minutes, also that of the exporter", at: 14 * time.Minute, fires: []string{onCache},
			series: []string{cache("redis_rejected_connections_total", "3x10 _x40 900x30")}},
		{alert: "RedisRejectsConnections", about: "connections were refused long ago", series: []string{cache("redis_rejected_connections_total", "7x40")}, at: 3 * time.Minute},
	}
}

func eventExamples() []example {
	order := func(metric, values string) string {
		return fmt.Sprintf(`%s{job="order-service", pod="a"} %s`, metric, values)
	}
	notification := func(metric, values string) string {
		return fmt.Sprintf(`notification_service_%s{job="notification-service", consumer="c", pod="a"} %s`, metric, values)
	}
	delivered := func(outcome, values string) string {
		return fmt.Sprintf(`notification_service_webhook_deliveries_total{job="notification-service", pod="a", outcome="%s"} %s`, outcome, values)
	}
	handled := func(values string) string {
		return fmt.Sprintf(`notification_service_events_handled_total{job="notification-service", consumer="c", type="order.placed", outcome="handled"} %s`, values)
	}
	mailed := func(outcome, values string) string {
		return fmt.Sprintf(`notification_service_events_handled_total{job="notification-service", consumer="notification-service-mail", type="user.password_changed", outcome="%s"} %s`, outcome, values)
	}
	orders, notifications := []string{`job="order-service"`}, []string{`job="notification-service"`}
	consumers := []string{`consumer="c", job="notification-service"`}
	const outbox = "order_service_outbox_oldest_unpublished_seconds"
	return []example{
		{alert: "OutboxStuck", about: "an event has waited for ten minutes", series: []string{order(outbox, "0+15x60")}, at: 10 * time.Minute, fires: orders},
		{alert: "OutboxStuck", about: "an event has waited for five minutes when Postgres becomes slow", series: []string{order(outbox, "0+15x20 _x40")}, at: 12 * time.Minute, fires: orders},
		{alert: "OutboxStuck", about: "events wait for a second", series: []string{order(outbox, "1x60")}, at: 10 * time.Minute},
		{alert: "StreamLag", about: "thousands of events wait", series: []string{notification("stream_lag", "5000x60"), notification("stream_pending", "10x60")}, at: 12 * time.Minute, fires: consumers},
		{alert: "StreamLag", about: "a few events wait", series: []string{notification("stream_lag", "50x60"), notification("stream_pending", "10x60")}, at: 12 * time.Minute},
		{alert: "StreamStalled", about: "a few events wait and none is handled", series: []string{notification("stream_lag", "5x120"), notification("stream_pending", "1x120"), handled("70x120")},
			at: 25 * time.Minute, fires: consumers},
		{alert: "StreamStalled", about: "a few events wait and others are handled", series: []string{notification("stream_lag", "5x120"), notification("stream_pending", "1x120"), handled("0+1x120")}, at: 25 * time.Minute},
		{alert: "StreamStalled", about: "no event waits", series: []string{notification("stream_lag", "0x120"), notification("stream_pending", "0x120"), handled("70x120")}, at: 25 * time.Minute},
		{alert: "StreamLost", about: "the stream was emptied", series: []string{order("order_service_stream_losses_total", "0x3 1x20")}, at: 3 * time.Minute, fires: orders},
		{alert: "StreamLost", about: "the stream has all it should", series: []string{order("order_service_stream_losses_total", "0x40")}, at: 3 * time.Minute},
		{alert: "DeadLetters", about: "an event couldn't be handled", series: []string{notification("dead_letters", "0x3 1x20")}, at: 3 * time.Minute, fires: notifications},
		{alert: "DeadLetters", about: "every event could be handled", series: []string{notification("dead_letters", "0x40")}, at: 3 * time.Minute},
		{alert: "EmailsDropped", about: "the mail server has refused an email five times", series: []string{mailed("dead", "0x3 1x20")}, at: 3 * time.Minute, fires: notifications},
		{alert: "EmailsDropped", about: "emails are sent, and an event of an order couldn't be handled", at: 3 * time.Minute,
			series: []string{mailed("dead", "0x40"), mailed("handled", "0+1x40"), strings.Replace(mailed("dead", "0x3 1x20"), "-mail", "", 1)}},
		{alert: "WebhookFailing", about: "three quarters of the attempts fail", series: []string{delivered("delivered", "0+1x90"), delivered("failed", "0+3x90")}, at: 20 * time.Minute, fires: notifications},
		{alert: "WebhookFailing", about: "a quarter of the attempts fails", series: []string{delivered("delivered", "0+3x90"), delivered("failed", "0+1x90")}, at: 20 * time.Minute},
		{alert: "WebhookFailing", about: "two attempts fail in a quiet night", series: []string{delivered("delivered", "5x90"), delivered("failed", "0x40 1 2x60")}, at: 20 * time.Minute},
		{alert: "WebhookGaveUp", about: "a delivery is given up", series: []string{delivered("gave_up", "0x3 1x20")}, at: 3 * time.Minute, fires: notifications},
		{alert: "WebhookGaveUp", about: "a delivery fails and is tried again", series: []string{delivered("gave_up", "0x40"), delivered("failed", "0x3 1x20")}, at: 3 * time.Minute},
	}
}

func gatewayExamples() []example {
	breaker := func(service, values string) []string {
		return []string{fmt.Sprintf(`gateway_breaker_state{job="api-gateway", pod="a", service="%s"} %s`, service, values)}
	}
	const user, notification = `job="user-service", service="user-service"`, `job="notification-service", service="notification-service"`
	signIns := func(accepted, refused int) (series []string) {
		for status, n := range map[string]int{"2xx": accepted, "4xx": refused} {
			series = append(series, fmt.Sprintf(`user_service_requests_total{job="user-service", pod="a", method="POST", endpoint="/sessions", status="%s"} 0+%dx40`, status, n))
		}
		return append(series, `user_service_requests_total{job="user-service", pod="a", method="GET", endpoint="/users/{id}", status="4xx"} 0+900x40`)
	}
	age := func(values string) []string {
		return []string{`gateway_revocations_age_seconds{job="api-gateway", pod="a"} ` + values}
	}
	return []example{
		{alert: "BreakerOpen", severity: catalog.Page, about: "a breaker is open, and half open now and then", series: breaker("user-service", "0 2 1 2 2 1 2 2 2 1 2 2"), at: 2 * time.Minute, fires: []string{user}},
		{alert: "BreakerOpen", severity: catalog.Page, about: "a breaker opens for a moment", series: breaker("user-service", "0 0 2 0x30"), at: 3 * time.Minute},
		{alert: "BreakerOpen", about: "the breaker for a service is open that nobody gets up for", series: breaker("notification-service", "2x40"), at: 3 * time.Minute, fires: []string{notification}},
		{alert: "BreakerOpen", about: "the breaker for such a service is closed", series: breaker("notification-service", "0x40"), at: 3 * time.Minute},
		{alert: "PoolExhausted", about: "a request a second gets no connection", series: []string{`postgres_pool_canceled_acquires_total{job="user-service", pod="a"} 0+15x40`}, at: 5 * time.Minute, fires: []string{`job="user-service"`}},
		{alert: "PoolExhausted", about: "two requests got no connection", series: []string{`postgres_pool_canceled_acquires_total{job="user-service", pod="a"} 0x10 2x40`}, at: 5 * time.Minute},
		{alert: "SignInsRefused", about: "two thirds of the sign-ins are refused", series: signIns(20, 40), step: time.Minute, at: 20 * time.Minute, fires: []string{`job="user-service"`}},
		{alert: "SignInsRefused", about: "a third of the sign-ins is refused", series: signIns(80, 40), step: time.Minute, at: 20 * time.Minute},
		{alert: "SignInsRefused", about: "the sign-ins of one client are refused, as many as its limit allows", series: signIns(1, 10), step: time.Minute, at: 20 * time.Minute},
		{alert: "RevocationsOld", severity: catalog.Page, about: "user-service was last heard ten minutes ago", series: age("0+15x60"), at: 10 * time.Minute, fires: []string{`job="api-gateway"`}},
		{alert: "RevocationsOld", severity: catalog.Page, about: "user-service was heard just now", series: age("2x60"), at: 10 * time.Minute},
	}
}

func targetExamples() []example {
	scrape := func(up, samples string) []string {
		return []string{`up{job="coredns", instance="10.0.0.2:9153"} ` + up, `scrape_samples_scraped{job="coredns", instance="10.0.0.2:9153"} ` + samples}
	}
	const coredns = `job="coredns", instance="10.0.0.2:9153"`
	const users = `job="user-service", colour="blue", instance="10.0.0.1:9090", namespace="apps", pod="a"`
	missing := `job="coredns"`
	return []example{
		{alert: "TargetDown", about: "a target doesn't respond", series: scrape("0x40", "0x40"), at: 7 * time.Minute, fires: []string{coredns}},
		{alert: "TargetDown", about: "the public address doesn't respond, which has an alert of its own", series: []string{`up{job="public-address", instance="api.example.com"} 0x40`}, at: 7 * time.Minute},
		{alert: "TargetDown", about: "a target responds", series: scrape("1x40", "100x40"), at: 7 * time.Minute},
		{alert: "TargetDown", about: "a pod is ready and no metrics come", series: replica("user-service", "a", "blue", "0x40", "1x40", "1x40"), at: 7 * time.Minute, fires: []string{users}},
		{alert: "TargetDown", about: "a drained node is updated for ten minutes", at: 10 * time.Minute, series: []string{`up{job="kubelet", node="n1", instance="n1"} 0x60`,
			`kube_node_spec_unschedulable{job="kube-state-metrics", node="n1"} 1x60`, `kube_node_status_condition{job="kube-state-metrics", node="n1", condition="Ready", status="true"} 0x60`}},
		{alert: "TargetDown", about: "a pod on a cordoned node doesn't respond, and the node is ready", at: 10 * time.Minute, fires: []string{`job="postgres", node="n1", instance="a"`}, series: []string{
			`up{job="postgres", node="n1", instance="a"} 0x60`, `kube_node_spec_unschedulable{job="kube-state-metrics", node="n1"} 1x60`,
			`kube_node_status_condition{job="kube-state-metrics", node="n1", condition="Ready", status="true"} 1x60`}},
		{alert: "TargetDown", about: "metrics break off in the middle", series: scrape("0x40", "2x40"), at: 7 * time.Minute, fires: []string{coredns}},
		{alert: "TargetDown", about: "an empty page comes", series: scrape("1x40", "0x40"), at: 7 * time.Minute, fires: []string{coredns}},
		{alert: "TargetTooLarge", about: "a target with fifteen thousand series", series: []string{`scrape_samples_post_metric_relabeling{job="coredns", instance="a"} 15000x60`}, at: 12 * time.Minute, fires: []string{missing}},
		{alert: "TargetTooLarge", about: "a target with a thousand series", series: []string{`scrape_samples_post_metric_relabeling{job="coredns", instance="a"} 1000x60`}, at: 12 * time.Minute},
		{alert: "TargetMissing", matchers: missing, about: "there is nothing to ask", series: []string{`up{job="prometheus"} 1x40`}, at: 7 * time.Minute, fires: []string{missing}},
		{alert: "TargetMissing", matchers: missing, about: "there is a target, which doesn't respond", series: scrape("0x40", "0x40"), at: 7 * time.Minute},
		{alert: "TargetMissing", matchers: `job="user-service"`, about: "no pod of a service is found", series: []string{`up{job="prometheus"} 1x40`}, at: 7 * time.Minute, fires: []string{`job="user-service"`}},
		{alert: "TargetMissing", matchers: missing, about: "Prometheus has no samples at all", at: 7 * time.Minute},
	}
}

func prometheusExamples() []example {
	own := func(metric, labels, values string) string {
		return fmt.Sprintf(`%s{job="prometheus", instance="a"%s} %s`, metric, labels, values)
	}
	manager := func(metric, labels, values string) string {
		return fmt.Sprintf(`%s{job="alertmanager", instance="b"%s} %s`, metric, labels, values)
	}
	const prometheus, rules = `job="prometheus"`, `, rule_group="rules.yml;outages"`
	const blocks, limit, lowest = "prometheus_tsdb_storage_blocks_bytes", "prometheus_tsdb_retention_limit_bytes", "prometheus_tsdb_lowest_timestamp_seconds"
	const wal, chunks = "prometheus_tsdb_wal_storage_size_bytes", "prometheus_tsdb_head_chunks_storage_size_bytes"
	return []example{
		{alert: "Watchdog", severity: None, about: "nothing is known of anything", at: 15 * time.Second, fires: []string{prometheus}},
		{alert: "Watchdog", severity: None, matchers: `job!="prometheus"`, about: "nobody but Prometheus says so", at: 15 * time.Second},
		{alert: "ConfigReloadFailed", about: "Prometheus refuses its configuration", series: []string{own("prometheus_config_last_reload_successful", "", "1x3 0x40"), manager("alertmanager_config_last_reload_successful", "", "1x40")},
			at: 5 * time.Minute, fires: []string{`job="prometheus", instance="a"`}},
		{alert: "ConfigReloadFailed", about: "Alertmanager refuses its configuration", series: []string{manager("alertmanager_config_last_reload_successful", "", "0x40")},
			at: 5 * time.Minute, fires: []string{`job="alertmanager", instance="b"`}},
		{alert: "ConfigReloadFailed", about: "both took their configurations", series: []string{own("prometheus_config_last_reload_successful", "", "1x40"), manager("alertmanager_config_last_reload_successful", "", "1x40")}, at: 5 * time.Minute},
		{alert: "RulesFailing", about: "a rule fails at each evaluation", series: []string{own("prometheus_rule_evaluation_failures_total", rules, "0+1x60")}, at: 5 * time.Minute,
			fires: []string{prometheus + rules}},
		{alert: "DiscoveryFailing", about: "the API server refuses to list the pods", series: []string{own("prometheus_sd_kubernetes_failures_total", "", "0+1x60")}, at: 10 * time.Minute, fires: []string{prometheus}},
		{alert: "DiscoveryFailing", about: "the API server has restarted", series: []string{own("prometheus_sd_kubernetes_failures_total", "", "0x4 3x60")}, at: 10 * time.Minute},
		{alert: "RulesFailing", about: "Prometheus was stopped for ten minutes", series: []string{own("prometheus_rule_group_iterations_missed_total", rules, "0x20 _x40 120x60")}, at: 20 * time.Minute, fires: []string{prometheus + rules}},
		{alert: "RulesFailing", about: "every rule can be evaluated", series: []string{own("prometheus_rule_evaluation_failures_total", rules, "0x60"), own("prometheus_rule_group_iterations_missed_total", rules, "3x60")}, at: 5 * time.Minute},
		{alert: "NotificationsFailing", severity: catalog.Page, about: "Alertmanager refuses alerts of Prometheus", series: []string{own("prometheus_notifications_dropped_total", "", "0+1x60")}, at: 5 * time.Minute, fires: []string{prometheus}},
		{alert: "NotificationsFailing", severity: catalog.Page, about: "a receiver refuses alerts of Alertmanager", series: []string{manager("alertmanager_notifications_failed_total", `, integration="slack"`, "0+1x60")},
			at: 5 * time.Minute, fires: []string{`job="alertmanager"`}},
		{alert: "NotificationsFailing", severity: catalog.Page, about: "one notification failed, and alerts were dropped while Alertmanager restarted", at: 5 * time.Minute,
			series: []string{manager("alertmanager_notifications_failed_total", `, integration="slack"`, "0x4 1x60"), own("prometheus_notifications_dropped_total", "", "0x4 5 9x60")}},
		{alert: "NotificationsFailing", severity: catalog.Page, about: "all alerts are delivered", at: 5 * time.Minute, series: []string{own("prometheus_notifications_dropped_total", "", "0x60"),
			own("prometheus_notifications_alertmanagers_discovered", "", "1x60"), manager("alertmanager_notifications_failed_total", `, integration="slack"`, "0x60")}},
		{alert: "NotificationsFailing", severity: catalog.Page, about: "one of two replicas of Prometheus knows no Alertmanager", at: 5 * time.Minute, fires: []string{prometheus},
			series: []string{own("prometheus_notifications_alertmanagers_discovered", "", "0x60"), strings.Replace(own("prometheus_notifications_alertmanagers_discovered", "", "2x60"), `"a"`, `"b"`, 1)}},
		{alert: "NotificationsFailing", severity: catalog.Page, about: "the receiver of a ticket refuses it every five minutes, without a pause of the alert", at: 27 * time.Minute, fires: []string{`job="alertmanager"`},
			series: []string{manager("alertmanager_notifications_failed_total", `, integration="slack"`, "0x4 1x19 2x19 3x19 4x19 5x19 6x19")}},
		{alert: "AlertmanagerSplit", about: "one of two replicas reaches nobody", step: time.Minute, at: 15 * time.Minute, fires: []string{`job="alertmanager"`},
			series: []string{manager("up", `, pod="0"`, "1x60"), manager("up", `, pod="1"`, "1x60"), manager("alertmanager_cluster_members", `, pod="0"`, "1x60"), manager("alertmanager_cluster_members", `, pod="1"`, "2x60")}},
		{alert: "AlertmanagerSplit", about: "both replicas reach each other", step: time.Minute, at: 15 * time.Minute,
			series: []string{manager("up", `, pod="0"`, "1x60"), manager("up", `, pod="1"`, "1x60"), manager("alertmanager_cluster_members", `, pod="0"`, "2x60"), manager("alertmanager_cluster_members", `, pod="1"`, "2x60")}},
		{alert: "AlertmanagerSplit", about: "there is one replica", step: time.Minute, at: 15 * time.Minute, series: []string{manager("up", "", "1x60")}},
		{alert: "PrometheusStorageFull", about: "the storage is full with what ten days hold", step: time.Minute, at: 45 * time.Minute,
			series: []string{own(blocks, "", "95x60"), own(wal, "", "0x60"), own(chunks, "", "0x60"), own(limit, "", "100x60"), own(lowest, "", "-864000x60")}, fires: []string{prometheus}},
		{alert: "PrometheusStorageFull", about: "the storage is full, a fifth of it with the write-ahead log, which counts against the limit", step: time.Minute, at: 45 * time.Minute, fires: []string{prometheus},
			series: []string{own(blocks, "", "75x60"), own(wal, "", "15x60"), own(chunks, "", "6x60"), own(limit, "", "100x60"), own(lowest, "", "-864000x60")}},
		{alert: "PrometheusStorageFull", about: "the storage is full and holds more than thirty days", step: time.Minute, at: 45 * time.Minute,
			series: []string{own(blocks, "", "95x60"), own(wal, "", "0x60"), own(chunks, "", "0x60"), own(limit, "", "100x60"), own(lowest, "", "-8640000x60")}},
		{alert: "PrometheusStorageFailing", severity: catalog.Page, about: "blocks can't be compacted", step: time.Minute, at: 10 * time.Minute, series: []string{own("prometheus_tsdb_compactions_failed_total", "", "0x5 1+1x60")}, fires: []string{prometheus}},
		{alert: "PrometheusStorageFailing", severity: catalog.Page, about: "blocks couldn't be compacted once", step: time.Minute, at: 10 * time.Minute, series: []string{own("up", "", "1x60"), own("prometheus_tsdb_compactions_failed_total", "", "0x5 1x60")}},
		{alert: "PrometheusStorageFailing", severity: catalog.Page, about: "no sample of Prometheus is stored for three minutes", at: 10 * time.Minute, series: []string{own("up", "", "1x28 _x30")}, fires: []string{prometheus}},
		{alert: "PrometheusStorageFailing", severity: catalog.Page, about: "Prometheus has started, and hasn't scraped itself for half a minute", at: 2 * time.Minute, series: []string{own("up", "", "_x2 1x60")}},
		{alert: "PrometheusStorageFailing", severity: catalog.Page, about: "samples are kept", step: time.Minute, at: 10 * time.Minute, series: []string{own("up", "", "1x60"), own("prometheus_tsdb_compactions_failed_total", "", "0x60"), own("prometheus_tsdb_wal_writes_failed_total", "", "0x60")}},
		{alert: "TooManySeries", about: "there are half a million series", step: time.Minute, at: 20 * time.Minute, series: []string{own("prometheus_tsdb_head_series", "", "500000x60")}, fires: []string{prometheus}},
		{alert: "TooManySeries", about: "there are forty thousand series", step: time.Minute, at: 20 * time.Minute, series: []string{own("prometheus_tsdb_head_series", "", "40000x60")}},
	}
}

func controlPlaneExamples() []example {
	answered := func(code, values string) string {
		return fmt.Sprintf(`apiserver_request_total{job="apiserver", verb="GET", code="%s"} %s`, code, values)
	}
	resolved := func(rcode, values string) string {
		return fmt.Sprintf(`coredns_dns_responses_total{job="coredns", pod="a", rcode="%s"} %s`, rcode, values)
	}
	ends := func(within7d int) []string { // of a hundred requests a scrape
		bucket := func(le string, n int) string {
			return fmt.Sprintf(`apiserver_client_certificate_expiration_seconds_bucket{job="apiserver", le="%s"} 0+%dx60`, le, n)
		}
		return []string{bucket("345600.0", 0), bucket("604800.0", within7d), bucket("2592000.0", 100), bucket("+Inf", 100)}
	}
	const apiserver, coredns = `job="apiserver"`, `job="coredns"`
	return []example{
		{alert: "DnsErrors", about: "a tenth of the queries fails", series: []string{resolved("NOERROR", "0+90x60"), resolved("SERVFAIL", "0+10x60")}, at: 10 * time.Minute, fires: []string{coredns}},
		{alert: "DnsErrors", about: "CoreDNS panics", series: []string{`coredns_panics_total{job="coredns", pod="a"} 0+1x60`}, at: 10 * time.Minute, fires: []string{coredns}},
		{alert: "DnsErrors", about: "a third of the queries is for unknown names", series: []string{resolved("NOERROR", "0+60x60"), resolved("NXDOMAIN", "0+30x60"), resolved("SERVFAIL", "0x60")}, at: 10 * time.Minute},
		{alert: "ApiServerErrors", about: "a tenth of the requests fails", series: []string{answered("200", "0+90x60"), answered("500", "0+10x60")}, at: 10 * time.Minute, fires: []string{apiserver}},
		{alert: "ApiServerErrors", about: "a tenth of the requests conflicts with others", series: []string{answered("200", "0+90x60"), answered("409", "0+10x60")}, at: 10 * time.Minute},
		{alert: "EtcdLarge", about: "etcd has nine tenths of a GiB", series: []string{`apiserver_storage_size_bytes{job="apiserver", storage_cluster_id="etcd-0"} 966367641x60`}, at: 12 * time.Minute, fires: []string{apiserver}},
		{alert: "EtcdLarge", about: "etcd has 100 MiB", series: []string{`apiserver_storage_size_bytes{job="apiserver", storage_cluster_id="etcd-0"} 104857600x60`}, at: 12 * time.Minute},
		{alert: "ClientCertificateEnds", about: "a tenth of the requests has a certificate that ends this week", series: ends(10), at: 15 * time.Minute, fires: []string{apiserver}},
		{alert: "ClientCertificateEnds", about: "all certificates are valid for weeks", series: ends(0), at: 15 * time.Minute},
	}
}
