package dashboard

import (
	"fmt"

	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The default prices in euros a month: round numbers for a cloud's general-purpose machine. Users can change them in the dashboard.
const (
	pricePerCore = "20"
	pricePerGiB  = "3"
)

const everywhere = ".*"

// cost shows requested and used resources and their price.
func cost() plan {
	const gib = "/ 2^30"
	money := func(cores, bytes string) string {
		return fmt.Sprintf("(%s) * $core + (%s) %s * $gib", cores, bytes, gib)
	}
	sum := func(of func(resource, namespaces string) string, resource string) string {
		return "sum(" + of(resource, everywhere) + ")"
	}
	// of sums by service and colour.
	of := func(what func(resource, namespaces string) string, resource string) string {
		return fmt.Sprintf("sum by (job, colour) (sum by (namespace, pod) (%s) %s %s)", what(resource, appsNamespace), ofPod, pods(""))
	}
	service := func(what func(resource, namespaces string) string, resource string) string {
		return "sum by (job) (" + of(what, resource) + ")"
	}
	// idle keeps the values of colours that aren't live.
	idle := func(value string) string {
		return fmt.Sprintf("(%s) * on (job, colour) (1 - %s)", value, liveColours())
	}
	reserved := money(sum(requested, cpu), sum(requested, memory))
	inUse := money(sum(used, cpu), sum(used, memory))
	return plan{
		uid: costUID, title: "Cost", since: "now-24h",
		about: "Requested and used resources, and their price. The scheduler reserves requests, used or not, so they determine the number of nodes. " +
			"The prices are examples: enter your own. Volumes, egress traffic, load balancers and managed stores aren't included.",
		rows: []row{
			{title: "Cost per month at the current rate", height: 5, panels: []panel{
				{kind: number, width: 8, title: "Requested by containers", unit: "currencyEUR",
					about: "CPU and memory requests of all containers, for a month at the prices above. Nodes cost more, because their " +
						"unrequested capacity costs too.",
					asked: ask(reserved, "a month")},
				{kind: number, width: 8, title: "Used", unit: "currencyEUR",
					about: "CPU and memory that containers use now, for a month at the prices above.",
					asked: ask(inUse, "a month")},
				{kind: number, width: 8, title: "Idle", unit: "percentunit", limits: rising(.7, ready),
					about: "Share of the cost of requests that isn't used. Some idle capacity is wanted, for the next peak.",
					asked: ask(fmt.Sprintf("clamp_min(1 - (%s) / (%s), 0)", inUse, reserved), "idle")},
			}},
			{title: "Cost by service", height: 9, panels: []panel{
				{kind: grid, width: 14, title: "Services", unit: "currencyEUR",
					about: "Requested and used cores and memory of each service, and the cost of its requests.",
					asked: []query{
						{service(requested, cpu), ""}, {service(used, cpu), ""}, {service(requested, memory), ""}, {service(used, memory), ""},
						{money(service(requested, cpu), service(requested, memory)), ""},
					},
					columns: []column{
						{name: "job", title: "Service", toLink: toService},
						{name: "Value #A", title: "Cores requested", unit: "none"},
						{name: "Value #B", title: "Cores used", unit: "none"},
						{name: "Value #C", title: "Memory requested", unit: "bytes"},
						{name: "Value #D", title: "Memory used", unit: "bytes"},
						{name: "Value #E", title: "A month", unit: "currencyEUR"},
					}},
				{kind: bars, width: 10, title: "Standby colours", unit: "currencyEUR", min: new(0.0), none: "No standby colour.",
					about: "CPU and memory requests of each colour that isn't live, for a month.",
					asked: ask(idle(money(of(requested, cpu), of(requested, memory)))+" > 0", "{{job}} {{colour}}")},
			}},
		},
		variables: []grafana.VariableModel{
			entry("core", "€ per core and month", "Price of one core for a month, in euros", pricePerCore),
			entry("gib", "€ per GiB of memory and month", "Price of one GiB of memory for a month, in euros", pricePerGiB),
		},
	}
}
