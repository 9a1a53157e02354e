package dashboard

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The default prices in euros a month: round numbers for a cloud's general-purpose machine. Users can change them in the dashboard.
const (
	pricePerCore   = "20"
	pricePerGiB    = "3"
	pricePerVolume = "0.1" // per GiB of disk
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
	total := func(resource string) []query {
		return []query{
			{sum(requested, resource), "requests"}, {sum(used, resource), "used"}, {sum(limits, resource), "limits"},
			{fmt.Sprintf(`sum(kube_node_status_allocatable{job=%q, resource=%q})`, kubeJob, resource), "nodes"},
		}
	}
	perNamespace := func(of func(resource, namespaces string) string, resource string) string {
		return "sum by (namespace) (" + of(resource, everywhere) + ")"
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
	volumes := fmt.Sprintf("(sum(kube_persistentvolumeclaim_resource_requests_storage_bytes{job=%q}) or vector(0)) %s * $volume", kubeJob, gib)
	return plan{
		uid: costUID, title: "Cost", since: "now-24h",
		about: "Requested and used resources, and their price.",
		rows: []row{
			{title: "Cost per month at the current rate", height: 5, panels: []panel{
				{kind: number, width: 6, title: "Requested by containers", unit: "currencyEUR",
					about: "CPU and memory requests of all containers, for a month at the prices above. Nodes cost more, because their " +
						"unrequested capacity costs too.",
					asked: ask(reserved, "a month")},
				{kind: number, width: 6, title: "Used", unit: "currencyEUR",
					about: "CPU and memory that containers use now, for a month at the prices above.",
					asked: ask(inUse, "a month")},
				{kind: number, width: 6, title: "Idle", unit: "percentunit", limits: rising(.7, ready),
					about: "Share of the cost of requests that isn't used. Some idle capacity is wanted, for the next peak.",
					asked: ask(fmt.Sprintf("clamp_min(1 - (%s) / (%s), 0)", inUse, reserved), "idle")},
				{kind: number, width: 6, title: "Volumes", unit: "currencyEUR",
					about: "Requested size of all volume claims.", asked: ask(volumes, "a month")},
			}},
			{title: "Cost by service and namespace", height: 9, panels: []panel{
				{kind: grid, width: 14, title: "Services", unit: "currencyEUR",
					about: "Requested and used cores and memory of each service, and the cost of its requests.",
					asked: []query{
						{service(requested, cpu), ""},
						{service(used, cpu), ""},
						{service(requested, memory), ""},
						{service(used, memory), ""},
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
				{kind: bars, width: 10, title: "Standby colours", unit: "currencyEUR", min: to(0), none: "No standby colour.",
					about: "CPU and memory requests of each colour that isn't live, for a month.",
					asked: ask(idle(money(of(requested, cpu), of(requested, memory)))+" > 0", "{{job}} {{colour}}")},
				{kind: bars, width: 12, title: "Namespaces: requested", unit: "currencyEUR", min: to(0),
					about: "Requests of the containers in each namespace, for a month.",
					asked: ask(money(perNamespace(requested, cpu), perNamespace(requested, memory)), "{{namespace}}")},
				{kind: bars, width: 12, title: "Namespaces: used", unit: "currencyEUR", min: to(0),
					about: "Usage of the containers in each namespace, for a month.",
					asked: ask(money(perNamespace(used, cpu), perNamespace(used, memory)), "{{namespace}}")},
			}},
			{title: "Over time", height: 9, panels: []panel{
				{width: 12, title: "Cores",
					about: "Requests, limits and usage of CPU by all containers, and the cores of all nodes.",
					asked: total(cpu)},
				{width: 12, title: "Memory", unit: "bytes",
					about: "Requests, limits and usage of memory by all containers, and the memory of all nodes.",
					asked: total(memory)},
			}},
			{title: "About the numbers", height: 3, panels: []panel{{
				kind: prose, width: 24, title: "How the cost is calculated",
				about: "The cost of a month is requested cores × price of a core + requested GiB of memory × price of a GiB. The scheduler reserves " +
					"requests, used or not, so they determine the number of nodes. The prices at the top of this dashboard are examples: enter " +
					"your own. Egress traffic, load balancers and managed stores aren't included.",
			}}},
		},
		variables: []cog.Builder[grafana.VariableModel]{
			entry("core", "€ per core and month", "Price of one core for a month, in euros", pricePerCore),
			entry("gib", "€ per GiB of memory and month", "Price of one GiB of memory for a month, in euros", pricePerGiB),
			entry("volume", "€ per GiB of disk and month", "Price of one GiB of disk for a month, in euros", pricePerVolume),
		},
	}
}
