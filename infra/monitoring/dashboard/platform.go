package dashboard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
	"platform.example/infra/release"
)

// budgets are the limits of error budgets: below 10 % they are nearly spent, below 50 % they are spent quickly.
func budgets() []limit { return falling(0.1, 0.5) }

// strictest is the highest availability objective of the services.
func strictest(services []catalog.Service) float64 {
	return slices.Max(slice.Map(services, func(service catalog.Service) float64 { return service.Objectives.Availability }))
}

// platform is the overview.
func platform(services []catalog.Service) plan {
	promised := strictest(services)
	public := []catalog.Service{catalog.Public(services)}
	return plan{
		uid: Home, title: "Platform", since: "now-1h",
		about: "Traffic, alerts, objectives and live versions at a glance.",
		marks: []mark{switches("")},
		rows: []row{
			{title: "Traffic at the edge", height: 4, panels: []panel{
				{kind: number, width: 5, title: "Availability", unit: "percentunit", max: new(1.0),
					about: "Share of the requests at the edge in the last 5 minutes that didn't return 5xx. Red if the error rate is " +
						"more than 10 times that of the strictest objective.",
					none:   "no requests",
					asked:  ask("1 - (sum(rate("+requestsAtEdge(`, code=~"5.."`)+"[5m])) or vector(0)) / (sum(rate("+requestsAtEdge("")+"[5m])) > 0)", "served"),
					limits: falling(1-10*(1-promised), promised)},
				{kind: number, width: 5, title: "Requests", unit: "reqps", about: "Requests per second at the edge.",
					asked: ask("sum(rate("+requestsAtEdge("")+rate+"))", "requests")},
				{kind: number, width: 7, title: "p99 latency", unit: "s",
					about: "99 % of the requests to the service behind the edge take no longer.",
					none:  "no requests", asked: latencies(public, "", "job", "{{job}}"), limits: latencyLimits(services)},
				{kind: number, width: 7, title: "Firing alerts", about: "Firing pages and tickets, including silenced ones.",
					asked:  ask(`count(ALERTS{alertstate="firing", severity=~"page|ticket"}) or vector(0)`, "alerts"),
					limits: []limit{{1, bad}}},
			}},
			{title: "Alerts", height: 5, panels: []panel{{
				kind: grid, width: 24, title: "Alerts", none: "No firing alerts.",
				about: "Firing alerts, pages first. Alertmanager shows which of them are silenced.",
				asked: ask(`max by (severity, alertname, job, namespace) (ALERTS{alertstate="firing", severity=~"page|ticket"})`, ""),
				columns: []column{
					{name: "severity", title: "Severity"}, {name: "alertname", title: "Alert"},
					{name: "job", title: "Job"}, {name: "namespace", title: "Namespace"},
				},
			}}},
			{title: "Objectives", height: 7, panels: []panel{
				{kind: grid, width: 24, title: "Objectives", unit: "percentunit",
					about: "Objective of the edge and of each service over 30 days, its actual value, and the remaining error and latency budgets. A " +
						"service's name links to its dashboard.",
					asked: []query{{AvailabilityObjective, ""}, {"1 - " + Errors + "30d", ""}, {ErrorBudget, ""}, {"1 - " + Slow + "30d", ""}, {LatencyBudget, ""}},
					columns: []column{
						{name: "job", title: "Service", toLink: toService},
						{name: "Value #A", title: "Objective", unit: "percentunit"},
						{name: "Value #B", title: "Availability", unit: "percentunit"},
						{name: "Value #C", title: "Error budget left", unit: "percentunit", limits: budgets()},
						{name: "Value #D", title: "Within latency objective", unit: "percentunit"},
						{name: "Value #E", title: "Latency budget left", unit: "percentunit", limits: budgets()},
					}},
			}},
			{title: "Live versions", height: 6, panels: []panel{
				{kind: grid, width: 24, title: "Live now", link: open("Releases", releasesUID),
					about: "Live colour, version and replicas of each service.",
					asked: ask(fmt.Sprintf("sum by (job, colour, version) (service_info{job=~%q} * on (job, colour) group_left () (%s == 1))",
						strings.Join(names(services), "|"), liveColours()), ""),
					columns: []column{
						{name: "job", title: "Service", toLink: toService},
						{name: "colour", title: "Colour"}, {name: "version", title: "Version"}, {name: "Value", title: "Replicas"},
					}},
			}},
			{title: "Over time", height: 8, panels: []panel{
				graph(8, "Requests by service", "reqps", "Requests of users per second by the service that handles them, and all at the edge.", Requests, "{{job}}"),
				{width: 8, title: "Errors by service", unit: "percentunit",
					about:  "Share of the requests in 5 minutes that returned 5xx. Dashed: the strictest objective over a month.",
					asked:  ask(Errors+"5m", "{{job}}"),
					limits: []limit{{1 - promised, careful}}},
				{width: 8, title: "p99 latency by service", unit: "s", none: "no requests",
					about: "99 % of the requests take no longer.",
					asked: latencies(services, "", "job", "{{job}}"), limits: latencyLimits(services)[:1]},
			}},
		},
	}
}

// latencyLimits are the public service's latency objective, and twice that.
func latencyLimits(services []catalog.Service) []limit {
	promised := catalog.Public(services).Objectives.Latency.Seconds()
	return rising(promised, 2*promised)
}

// hue is Grafana's name for the colour of a release colour. It differs from the green of good.
func hue(colour release.Colour) string { return "semi-dark-" + string(colour) }
