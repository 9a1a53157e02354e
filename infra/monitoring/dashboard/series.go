package dashboard

import (
	"fmt"
	"strings"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/rule"
	"platform.example/infra/release"
)

// The series that recording rules make, one for each job, which is the service that answers. Errors and Slow have one
// for each window, ByColour one for each job and colour.
const (
	Requests         = "job:requests:rate5m"        // requests a second
	RequestsByColour = "job_colour:requests:rate5m" // requests a second
	ErrorsByColour   = "job_colour:errors:ratio_rate5m"

	AvailabilityObjective = "job:objective:availability" // share, from the catalog
	ErrorBudget           = "job:error_budget:remaining" // share: 1 untouched, below 0 overspent
	LatencyBudget         = "job:latency_budget:remaining"
)

// Window is what Errors and Slow are taken over.
type Window string

// The windows that are recorded.
const (
	FiveMinutes Window = "5m"
	Hour        Window = "1h"
	SixHours    Window = "6h"
	Month       Window = "30d" // that of the objectives
)

// Errors is the share of requests that were answered 5xx.
func Errors(over Window) string { return "job:errors:ratio_rate" + string(over) }

// Slow is the share of requests that took longer than the objective's latency.
func Slow(over Window) string { return "job:slow:ratio_rate" + string(over) }

// The jobs beside the services, as they are scraped.
const (
	edgeJob           = "edge"
	postgresJob       = "postgres-exporter"
	cacheJob          = "redis-cache-exporter"
	streamJob         = "redis-stream-exporter"
	nodeJob           = "node-exporter"
	kubeJob           = "kube-state-metrics"
	containerJob      = "cadvisor"
	appsNamespace     = "apps"
	rate              = "[$__rate_interval]"
	ofPod             = "* on (namespace, pod) group_left (job, colour)"
	inFlightMost      = 256  // of one service at the gateway: its bulkhead
	ready             = 0.9  // share of a limit from which people should look
	full              = 0.97 // share of a limit from which something is about to break
	secondsUntilStale = 60   // a tenth of the session deadline, and four scrapes
)

// requestSeries is what a service says of the requests that it has answered, and the label that tells them apart.
type requestSeries struct {
	rule.Requests
	by string
}

func requestsOf(service catalog.Service) requestSeries {
	if service.Public {
		return requestSeries{rule.RequestsOf(service), "service"}
	}
	return requestSeries{rule.RequestsOf(service), "endpoint"}
}

// quantile is the time within which the share q of requests is answered, in seconds, by the labels named.
func (r requestSeries) quantile(q float64, selector, by string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (le, %s) (rate(%s_bucket{%s}%s)))", q, by, r.Duration, selector, rate)
}

// versioned joins the version that each replica says it runs to a value by job, namespace and pod.
func versioned(value, job string) string {
	return fmt.Sprintf(`%s * on (namespace, pod) group_left (version) max by (namespace, pod, version) (service_info{job=%q})`, value, job)
}

// pods is 1 for each pod of the services, with job and colour as its own series have them.
func pods(selector string) string {
	matchers := `namespace="` + appsNamespace + `", label_colour!=""`
	if selector != "" {
		matchers += ", " + selector
	}
	return labelled("kube_pod_labels{"+matchers+"}", "namespace, pod")
}

// labelled takes job and colour from the labels of an object, and keeps of its own labels those named.
func labelled(series, keep string) string {
	return fmt.Sprintf(`max by (%s, job, colour) (label_replace(label_replace(%s, "job", "$1", "label_app_kubernetes_io_name", "(.*)"), "colour", "$1", "label_colour", "(.*)"))`,
		keep, series)
}

// deployments sums a value of Deployments by job and colour.
func deployments(value, selector string) string {
	series := `kube_deployment_labels{namespace="` + appsNamespace + `", label_colour!=""`
	if selector != "" {
		series += ", " + selector
	}
	return fmt.Sprintf("sum by (job, colour) (max by (namespace, deployment) (%s) * on (namespace, deployment) group_left (job, colour) %s)",
		value, labelled(series+"}", "namespace, deployment"))
}

// byColour sums a value of containers by job and colour; selector chooses among the labels of their pods.
func byColour(value, selector string) string {
	return fmt.Sprintf("sum by (job, colour) (sum by (namespace, pod) (%s) %s %s)", value, ofPod, pods(selector))
}

// named is the selector of a service's pods and Deployments by the label that kube-state-metrics exports.
func named(service string) string { return fmt.Sprintf("label_app_kubernetes_io_name=%q", service) }

func colours() []release.Colour { return []release.Colour{release.Blue, release.Green} }

// live is 1 for each job of which the colour is live, else 0. Services that look at the switch tell; of others, live is
// the colour that has most of the requests.
func live(colour release.Colour) string {
	requests := fmt.Sprintf("max by (job) (%s{colour=%q}) >= bool max by (job) (%s)", RequestsByColour, colour, RequestsByColour)
	return fmt.Sprintf(`label_replace((max by (job) (service_live{colour=%q}) or (%s) unless on (job) service_live), "colour", %q, "", "")`,
		colour, requests, colour)
}

// liveColours is live of each colour, by job and colour.
func liveColours() string {
	var each []string
	for _, colour := range colours() {
		each = append(each, live(colour))
	}
	return "(" + strings.Join(each, " or ") + ")"
}

// liveNumber is, by job, the sum of the numbers of the live colours: 1 is blue, 2 green, 3 both while they change, 0 none.
func liveNumber() string {
	var each []string
	for i, colour := range colours() {
		each = append(each, fmt.Sprintf("%d * %s", 1<<i, live(colour)))
	}
	return "sum by (job) (" + strings.Join(each, " or ") + ")"
}

// wentLive is 1 at the moment at which a colour that wasn't live a minute ago is live, by job and colour.
const wentLive = `max by (job, colour) (service_live) == 1 unless max by (job, colour) (service_live offset 1m) == 1`

// used and requested are of containers: cores in use, bytes in use, and what the scheduler keeps free for them.
func used(resource, namespaces string) string {
	selector := fmt.Sprintf(`job=%q, container!="", container!="POD", namespace=~%q`, containerJob, namespaces)
	if resource == cpu {
		return "rate(container_cpu_usage_seconds_total{" + selector + "}" + rate + ")"
	}
	return "container_memory_working_set_bytes{" + selector + "}"
}

func requested(resource, namespaces string) string {
	return fmt.Sprintf(`kube_pod_container_resource_requests{job=%q, resource=%q, namespace=~%q}`, kubeJob, resource, namespaces)
}

func limits(resource, namespaces string) string {
	return fmt.Sprintf(`kube_pod_container_resource_limits{job=%q, resource=%q, namespace=~%q}`, kubeJob, resource, namespaces)
}

const (
	cpu    = "cpu"
	memory = "memory"
)
