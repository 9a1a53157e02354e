package dashboard

import (
	"fmt"

	"platform.example/infra/catalog"
)

// budgets says how much of an error budget is worth a look: under a tenth it's nearly spent, under half it goes quickly.
func budgets() []limit { return falling(0.1, 0.5) }

// strictest is the highest availability that any service promises.
func strictest(services []catalog.Service) float64 {
	var highest float64
	for _, service := range services {
		highest = max(highest, service.Objectives.Availability)
	}
	return highest
}

// platform is all at a glance: are users served, are promises kept, what is live, what is wrong.
func platform(services []catalog.Service) plan {
	promised := strictest(services)
	edge := fmt.Sprintf(`traefik_entrypoint_requests_total{job=%q, entrypoint!~"ops|traefik"}`, edgeJob)
	failed := fmt.Sprintf(`traefik_entrypoint_requests_total{job=%q, entrypoint!~"ops|traefik", code=~"5.."}`, edgeJob)

	var slowest []query
	for _, service := range services {
		slowest = append(slowest, query{
			requestsOf(service).quantile(.99, fmt.Sprintf("job=%q", service.Name), "job"), "{{job}}",
		})
	}
	return plan{
		uid: Home, title: "Platform", since: "now-1h",
		about: "Are users served? Are promises kept? What is live, and what is wrong?",
		marks: []mark{switches("")},
		rows: []row{
			{title: "Are users served?", height: 4, panels: []panel{
				{
					kind: number, width: 5, title: "Served without error", unit: "percentunit", max: to(1),
					about: "Share of the requests at the edge in the last 5 minutes that weren't answered 5xx: what users see, " +
						"whoever is at fault. Red where it's below what the strictest service promises for a month.",
					none:   "no requests",
					asked:  ask("1 - (sum(rate("+failed+"[5m])) or vector(0)) / (sum(rate("+edge+"[5m])) > 0)", "served"),
					limits: falling(1-10*(1-promised), promised),
				},
				{
					kind: number, width: 5, title: "Requests", unit: "reqps", about: "Requests a second at the edge.",
					asked: ask("sum(rate("+edge+rate+"))", "requests"),
				},
				{
					kind: number, width: 5, title: "Slowest hundredth", unit: "s",
					about: "Within this time 99 of 100 requests are answered by the service that the edge leads to (p99).",
					none:  "no requests", asked: public(slowest, services), limits: latencyLimits(services),
				},
				{
					kind: number, width: 4, title: "Alerts that fire", unit: "none",
					about:  "Pages and tickets that Prometheus holds to be true now, silenced ones included.",
					asked:  ask(`count(ALERTS{alertstate="firing", severity=~"page|ticket"}) or vector(0)`, "alerts"),
					limits: []limit{{1, bad}},
				},
				{
					kind: number, width: 5, title: "Targets that don't answer", unit: "none",
					about:  "Of all that Prometheus asks for metrics. What isn't asked isn't seen.",
					asked:  ask("count(up == 0) or vector(0)", "targets"),
					limits: []limit{{1, bad}},
				},
			}},
			{title: "What is wrong", height: 5, panels: []panel{{
				kind: grid, width: 24, title: "Alerts", unit: "none", none: "No alert fires.",
				about: "Alerts that fire, the loudest first. Alertmanager knows which of them are silenced.",
				asked: ask(`sort(max by (severity, alertname, job, namespace) (ALERTS{alertstate="firing", severity=~"page|ticket"}))`, ""),
				columns: []column{
					{name: "severity", title: "Severity"}, {name: "alertname", title: "Alert"},
					{name: "job", title: "Of"}, {name: "namespace", title: "Namespace"},
				},
			}}},
			{title: "Are promises kept?", height: 7, panels: []panel{
				{
					kind: grid, width: 17, title: "Objectives", unit: "percentunit",
					about: "What each service promises over 30 days, what it has kept, and how much of what may fail or be slow " +
						"is left. A service's name leads to its dashboard.",
					asked: []query{
						{AvailabilityObjective, ""},
						{"1 - " + Errors(Month), ""},
						{ErrorBudget, ""},
						{"1 - " + Slow(Month), ""},
						{LatencyBudget, ""},
					},
					columns: []column{
						{name: "job", title: "Service", toLink: toService},
						{name: "Value #A", title: "Promised", unit: "percentunit"},
						{name: "Value #B", title: "Answered without error", unit: "percentunit"},
						{name: "Value #C", title: "Error budget left", unit: "percentunit", limits: budgets()},
						{name: "Value #D", title: "Answered in time", unit: "percentunit"},
						{name: "Value #E", title: "Latency budget left", unit: "percentunit", limits: budgets()},
					},
				},
				{
					kind: bars, width: 7, title: "Error budget left", unit: "percentunit", min: to(0), max: to(1),
					about: "Of the requests that may fail in 30 days, the share that hasn't failed yet. At 0 the promise is broken.",
					asked: ask(ErrorBudget, "{{job}}"), limits: budgets(),
				},
			}},
			{title: "What is live", height: 6, panels: []panel{
				{
					kind: grid, width: 12, title: "Live now", unit: "none",
					about: "The colour and the version that answer each service's users, and on how many replicas.",
					asked: ask(fmt.Sprintf("sum by (job, colour, version) (service_info{job=~%q} * on (job, colour) group_left () (%s == 1))",
						among(services), liveColours()), ""),
					columns: []column{
						{name: "job", title: "Service", toLink: toService},
						{name: "colour", title: "Colour"}, {name: "version", title: "Version"}, {name: "Value", title: "Replicas"},
					},
				},
				{
					kind: timeline, width: 12, title: "Live colour", unit: "none", states: liveStates(),
					about: "Which colour users have met over time. Both at once is the moment of a switch.",
					asked: ask(liveNumber(), "{{job}}"), link: open("Releases", releasesUID),
				},
			}},
			{title: "Over time", height: 8, panels: []panel{
				{
					kind: lines, width: 8, title: "Requests by service", unit: "reqps", stacked: false,
					about: "Requests a second that each service answers. Those inside are asked by the gateway.",
					asked: ask(Requests, "{{job}}"),
				},
				{
					kind: lines, width: 8, title: "Errors by service", unit: "percentunit", min: to(0),
					about:  "Share of the requests answered 5xx in 5 minutes; dashed is what the strictest service may have over a month.",
					asked:  ask(Errors(FiveMinutes), "{{job}}"),
					limits: []limit{{1 - promised, careful}},
				},
				{
					kind: lines, width: 8, title: "Slowest hundredth by service", unit: "s", min: to(0), none: "no requests",
					about: "Within this time 99 of 100 requests are answered (p99).",
					asked: slowest, limits: latencyLimits(services)[:1],
				},
			}},
			{title: "Nodes", height: 8, panels: []panel{
				{
					kind: lines, width: 6, title: "CPU in use", unit: "percentunit", min: to(0), max: to(1), limits: rising(ready, full),
					about: "Share of each node's cores that is busy.",
					asked: ask(fmt.Sprintf(`1 - avg by (instance) (rate(node_cpu_seconds_total{job=%q, mode="idle"}%s))`, nodeJob, rate), "{{instance}}"),
				},
				{
					kind: lines, width: 6, title: "Memory in use", unit: "percentunit", min: to(0), max: to(1), limits: rising(ready, full),
					about: "Share of each node's memory that isn't available to anybody else.",
					asked: ask(fmt.Sprintf("1 - node_memory_MemAvailable_bytes{job=%q} / node_memory_MemTotal_bytes", nodeJob), "{{instance}}"),
				},
				{
					kind: bars, width: 6, title: "Disks", unit: "percentunit", min: to(0), max: to(1), limits: rising(.8, ready),
					about: "Share of each node's file systems that is in use. Kubernetes evicts pods from a node at 85 to 90 %.",
					asked: ask(fmt.Sprintf(`max by (instance, device) (1 - node_filesystem_avail_bytes{job=%q, fstype!~"tmpfs|ramfs|overlay"} / node_filesystem_size_bytes)`, nodeJob), "{{instance}} {{device}}"),
				},
				{
					kind: bars, width: 6, title: "Volumes", unit: "percentunit", min: to(0), max: to(1), limits: rising(.8, ready),
					about: "Share of each claimed volume that is in use.", none: "no volumes, or of a kind that isn't measured",
					asked: ask(`max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_used_bytes / kubelet_volume_stats_capacity_bytes)`, "{{namespace}}/{{persistentvolumeclaim}}"),
				},
			}},
		},
	}
}

// public keeps of the queries, one for each service, that of the service which the edge leads to.
func public(each []query, services []catalog.Service) []query {
	for i, service := range services {
		if service.Public {
			return each[i : i+1]
		}
	}
	return each
}

// latencyLimits is the public service's promise, and twice that.
func latencyLimits(services []catalog.Service) []limit {
	for _, service := range services {
		if service.Public {
			promised := service.Objectives.Latency.Seconds()
			return rising(promised, 2*promised)
		}
	}
	return nil
}

// liveStates words what liveNumber counts.
func liveStates() []state {
	states := []state{{0, "none", bad}, {3, "both", "purple"}}
	for i, colour := range colours() {
		states = append(states, state{1 << i, string(colour), hue(string(colour))})
	}
	return states
}

// hue is Grafana's name for the colour of a colour, mixed so that green isn't taken for good.
func hue(colour string) string { return "semi-dark-" + colour }
