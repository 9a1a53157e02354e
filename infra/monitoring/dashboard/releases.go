package dashboard

import (
	"fmt"

	"platform.example/infra/catalog"
)

// releases is what tells whether a new colour does well.
func releases(services []catalog.Service) plan {
	const chosen = `job=~"$service"`
	var slowest []query
	for _, service := range services {
		slowest = append(slowest, query{
			requestsOf(service).quantile(.99, fmt.Sprintf("job=%q, %s", service.Name, chosen), "job, colour"), "{{job}} {{colour}}",
		})
	}
	const labels = `label_app_kubernetes_io_name=~"$service"`
	return plan{
		uid: releasesUID, title: "Releases", since: "now-3h",
		about: "Is the new colour as good as the old one? Traffic, errors and durations side by side, and when which was live.",
		marks: []mark{switches(chosen)},
		rows: []row{
			{title: "Which is live", height: 8, panels: []panel{
				{
					kind: timeline, width: 12, title: "Live colour", unit: "none", states: liveStates(),
					about: "Which colour users have met over time. Both at once is the moment of a switch.",
					asked: ask(fmt.Sprintf("%s and on (job) group by (job) (%s{%s})", liveNumber(), Requests, chosen), "{{job}}"),
				},
				{
					kind: grid, width: 12, title: "What runs", unit: "none",
					about: "Each colour's version and how many replicas tell of it. Live or standing by: see beside.",
					asked: []query{
						{fmt.Sprintf("count by (job, colour, version) (service_info{%s})", chosen), ""},
						{fmt.Sprintf("sum by (job, colour, version) (group by (job, colour, version) (service_info{%s}) * on (job, colour) group_left () %s)", chosen, liveColours()), ""},
					},
					columns: []column{
						{name: "job", title: "Service", toLink: toService},
						{name: "colour", title: "Colour"}, {name: "version", title: "Version"},
						{name: "Value #A", title: "Replicas"},
						{name: "Value #B", title: "Users meet it", states: []state{{0, "no", plain}, {1, "yes", good}}},
					},
				},
			}},
			{title: "Side by side", height: 9, panels: []panel{
				{
					kind: lines, width: 8, title: "Traffic by colour", unit: "reqps", min: to(0), hues: palette(),
					about: "Requests answered a second.", asked: ask(RequestsByColour+"{"+chosen+"}", "{{job}} {{colour}}"),
				},
				{
					kind: lines, width: 8, title: "Errors by colour", unit: "percentunit", min: to(0), hues: palette(),
					about: "Share of the requests answered 5xx; dashed is what the strictest service may have over a month.",
					asked: ask(ErrorsByColour+"{"+chosen+"}", "{{job}} {{colour}}"), none: "no requests",
					limits: []limit{{1 - strictest(services), careful}},
				},
				{
					kind: lines, width: 8, title: "Slowest hundredth by colour", unit: "s", min: to(0), hues: palette(), none: "no requests",
					about: "Within this time 99 of 100 requests are answered (p99).", asked: slowest,
				},
			}},
			{title: "Rollouts", height: 9, panels: []panel{
				{
					kind: lines, width: 8, title: "Replicas ready by colour", unit: "none", min: to(0), hues: palette(),
					about: "Replicas that take requests.",
					asked: ask(deployments("kube_deployment_status_replicas_available", labels), "{{job}} {{colour}}"),
				},
				{
					kind: lines, width: 8, title: "Replicas that are missing", unit: "none", min: to(0), hues: palette(), limits: []limit{{1, careful}},
					about: "Replicas that should be ready and aren't. It's above 0 while a colour starts; if it stays, the release is stuck.",
					asked: ask(fmt.Sprintf("(%s) - (%s)", deployments("kube_deployment_spec_replicas", labels),
						deployments("kube_deployment_status_replicas_available", labels)), "{{job}} {{colour}}"),
				},
				{
					kind: lines, width: 8, title: "Restarts by colour", unit: "none", min: to(0), hues: palette(), limits: rising(1, 3),
					about: "Restarts of containers in 15 minutes.",
					asked: ask(byColour(fmt.Sprintf("increase(kube_pod_container_status_restarts_total{namespace=%q}[15m])", appsNamespace), labels), "{{job}} {{colour}}"),
				},
			}},
		},
	}.with(choice("service", "Service", names(services)))
}
