package dashboard

import (
	"fmt"

	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"platform.example/infra/catalog"
	"platform.example/infra/release"
)

// releases compares the colours.
func releases(services []catalog.Service) plan {
	const chosen = `job=~"$service"`
	return plan{
		uid: releasesUID, title: "Releases", since: "now-3h",
		about: "Traffic, errors and latency of the colours side by side, and which colour was live.",
		marks: []mark{switches(chosen)},
		rows: []row{
			{title: "Live colours", height: 8, panels: []panel{
				{kind: timeline, width: 12, title: "Live colour",
					states: []state{{0, "none", bad}, {3, "both", "purple"}, {1, "blue", hue(release.Blue)}, {2, "green", hue(release.Green)}},
					about:  "Live colour over time. During a switch both colours are live.",
					asked:  ask(fmt.Sprintf("%s and on (job) group by (job) (%s{%s})", liveNumber(), Requests, chosen), "{{job}}")},
				{kind: grid, width: 12, title: "Running versions",
					about: "Version and replicas of each colour, and whether it is live.",
					asked: []query{
						{fmt.Sprintf("count by (job, colour, version) (service_info{%s})", chosen), ""},
						{fmt.Sprintf("sum by (job, colour, version) (group by (job, colour, version) (service_info{%s}) * on (job, colour) group_left () %s)", chosen, liveColours()), ""},
					},
					columns: []column{
						{name: "job", title: "Service", toLink: toService},
						{name: "colour", title: "Colour"}, {name: "version", title: "Version"},
						{name: "Value #A", title: "Replicas"},
						{name: "Value #B", title: "Live", states: []state{{0, "no", plain}, {1, "yes", good}}},
					}},
			}},
			{title: "Side by side", height: 9, panels: []panel{
				{width: 8, title: "Traffic by colour", unit: "reqps", byColour: true,
					about: "Completed requests per second.", asked: ask(RequestsByColour+"{"+chosen+"}", "{{job}} {{colour}}")},
				{width: 8, title: "Errors by colour", unit: "percentunit", byColour: true,
					about: "Share of the requests that returned 5xx. Dashed: the strictest objective over a month.",
					asked: ask(ErrorsByColour+"{"+chosen+"}", "{{job}} {{colour}}"), none: "no requests",
					limits: []limit{{1 - strictest(services), careful}}},
				{width: 8, title: "p99 latency by colour", unit: "s", byColour: true, none: "no requests",
					about: "99 % of the requests take no longer.", asked: latencies(services, ", "+chosen, "job, colour", "{{job}} {{colour}}")},
			}},
		},
		variables: []grafana.VariableModel{choice("service", "Service", names(services)...)},
	}
}
