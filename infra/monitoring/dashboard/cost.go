package dashboard

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The prices to begin with, in euros a month. They are round numbers of the size that clouds ask for a machine in general
// use; who knows what they pay writes it into the dashboard's head.
const (
	pricePerCore   = "20"
	pricePerGiB    = "3"
	pricePerVolume = "0.1" // for a GiB of disk
)

const everywhere = ".*"

// cost is what is kept free for whom, how much of it is used, and what that is in money.
func cost() plan {
	const gib = "/ 2^30"
	money := func(cores, bytes string) string {
		return fmt.Sprintf("(%s) * $core + (%s) %s * $gib", cores, bytes, gib)
	}
	sum := func(of func(resource, namespaces string) string, resource string) string {
		return "sum(" + of(resource, everywhere) + ")"
	}
	perNamespace := func(of func(resource, namespaces string) string, resource string) string {
		return "sum by (namespace) (" + of(resource, everywhere) + ")"
	}
	// of adds up by service and colour.
	of := func(what func(resource, namespaces string) string, resource string) string {
		return byColour(what(resource, appsNamespace), "")
	}
	service := func(what func(resource, namespaces string) string, resource string) string {
		return "sum by (job) (" + of(what, resource) + ")"
	}
	// idle keeps what isn't live.
	idle := func(value string) string {
		return fmt.Sprintf("(%s) * on (job, colour) (1 - %s)", value, liveColours())
	}
	kept := money(sum(requested, cpu), sum(requested, memory))
	inUse := money(sum(used, cpu), sum(used, memory))
	volumes := fmt.Sprintf("(sum(kube_persistentvolumeclaim_resource_requests_storage_bytes{job=%q}) or vector(0)) %s * $volume", kubeJob, gib)
	return plan{
		uid: costUID, title: "Cost", since: "now-24h",
		about: "What is kept free for whom, how much of that is used, and what it is in money.",
		rows: []row{
			{title: "A month at this rate", height: 5, panels: []panel{
				{
					kind: number, width: 5, title: "Kept free for containers", unit: "currencyEUR",
					about: "What all containers ask for, CPU and memory, for a month at the prices above. Nodes cost more: what nobody " +
						"asks for is paid as well.",
					asked: ask(kept, "a month"),
				},
				{
					kind: number, width: 5, title: "Used", unit: "currencyEUR",
					about: "What containers use of CPU and memory right now, for a month at the prices above.",
					asked: ask(inUse, "a month"),
				},
				{
					kind: number, width: 5, title: "Idle", unit: "percentunit", limits: rising(.7, ready),
					about: "Share of the money for what is kept free that goes for what isn't used. Some is wanted: it is the room for the next peak.",
					asked: ask(fmt.Sprintf("clamp_min(1 - (%s) / (%s), 0)", inUse, kept), "idle"),
				},
				{
					kind: number, width: 5, title: "Colours that stand by", unit: "currencyEUR",
					about: "What the services' colours ask for that users don't meet.", none: "none stands by",
					asked: ask(fmt.Sprintf("sum(%s) or vector(0)", idle(money(of(requested, cpu), of(requested, memory)))), "a month"),
				},
				{
					kind: number, width: 4, title: "Volumes", unit: "currencyEUR",
					about: "What claimed volumes ask for.", asked: ask(volumes, "a month"),
				},
			}},
			{title: "Who", height: 9, panels: []panel{
				{
					kind: grid, width: 14, title: "Services", unit: "currencyEUR",
					about: "What each service's replicas ask for and use: cores, memory, and the money for what they ask for.",
					asked: []query{
						{service(requested, cpu), ""},
						{service(used, cpu), ""},
						{service(requested, memory), ""},
						{service(used, memory), ""},
						{money(service(requested, cpu), service(requested, memory)), ""},
					},
					columns: []column{
						{name: "job", title: "Service", toLink: toService},
						{name: "Value #A", title: "Cores asked for", unit: "none"},
						{name: "Value #B", title: "Cores used", unit: "none"},
						{name: "Value #C", title: "Memory asked for", unit: "bytes"},
						{name: "Value #D", title: "Memory used", unit: "bytes"},
						{name: "Value #E", title: "A month", unit: "currencyEUR"},
					},
				},
				{
					kind: bars, width: 10, title: "Colours that stand by", unit: "currencyEUR", min: to(0), none: "No colour stands by.",
					about: "What each colour asks for that users don't meet, for a month.",
					asked: ask(idle(money(of(requested, cpu), of(requested, memory)))+" > 0", "{{job}} {{colour}}"),
				},
				{
					kind: bars, width: 12, title: "Namespaces: kept free", unit: "currencyEUR", min: to(0),
					about: "What the containers of each namespace ask for, for a month.",
					asked: ask(money(perNamespace(requested, cpu), perNamespace(requested, memory)), "{{namespace}}"),
				},
				{
					kind: bars, width: 12, title: "Namespaces: used", unit: "currencyEUR", min: to(0),
					about: "What the containers of each namespace use, for a month.",
					asked: ask(money(perNamespace(used, cpu), perNamespace(used, memory)), "{{namespace}}"),
				},
			}},
			{title: "Over time", height: 9, panels: []panel{
				{
					kind: lines, width: 12, title: "Cores", unit: "none", min: to(0),
					about: "Cores that containers ask for, may use at most, and use; and those of all nodes.",
					asked: []query{
						{sum(requested, cpu), "asked for"}, {sum(used, cpu), "used"}, {sum(limits, cpu), "most"},
						{fmt.Sprintf(`sum(kube_node_status_allocatable{job=%q, resource="cpu"})`, kubeJob), "nodes"},
					},
				},
				{
					kind: lines, width: 12, title: "Memory", unit: "bytes", min: to(0),
					about: "Memory that containers ask for, may use at most, and use; and that of all nodes.",
					asked: []query{
						{sum(requested, memory), "asked for"}, {sum(used, memory), "used"}, {sum(limits, memory), "most"},
						{fmt.Sprintf(`sum(kube_node_status_allocatable{job=%q, resource="memory"})`, kubeJob), "nodes"},
					},
				},
			}},
			{title: "Behind the numbers", height: 3, panels: []panel{{
				kind: prose, width: 24, title: "How this is counted",
				about: "A month costs what is asked for: cores × price of a core + GiB of memory × price of a GiB. What containers ask for is kept " +
					"free for them, used or not, and decides how many nodes there must be. The prices stand in the head of this dashboard and are " +
					"examples: put in what you pay. Traffic out of the cluster, load balancers and managed stores aren't counted.",
			}}},
		},
	}.with(
		entry("core", "€ for a core and month", "Price of one core for a month, in euros", pricePerCore),
		entry("gib", "€ for a GiB of memory and month", "Price of one GiB of memory for a month, in euros", pricePerGiB),
		entry("volume", "€ for a GiB of disk and month", "Price of one GiB of disk for a month, in euros", pricePerVolume),
	)
}

// with adds variables, which stand in a dashboard's head.
func (p plan) with(variables ...cog.Builder[grafana.VariableModel]) plan {
	p.variables = append(p.variables, variables...)
	return p
}
