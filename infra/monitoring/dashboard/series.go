package dashboard

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/rule"
	"platform.example/infra/release"
)

// The series of recording rules, one per job, which is the service that responds. ErrorsByColour and RequestsByColour have one per job
// and colour.
const (
	Requests         = "job:requests:rate5m"        // requests per second
	RequestsByColour = "job_colour:requests:rate5m" // requests per second
	ErrorsByColour   = "job_colour:errors:ratio_rate5m"

	// Before a window: 5m, 1h, 6h or 30d, which is that of the objectives.
	Errors = "job:errors:ratio_rate" // share of requests that returned 5xx
	Slow   = "job:slow:ratio_rate"   // share of requests that took longer than the objective's latency

	AvailabilityObjective = "job:objective:availability" // share, from the catalog
	ErrorBudget           = "job:error_budget:remaining" // share: 1 unspent, below 0 overspent
	LatencyBudget         = "job:latency_budget:remaining"
)

// The scrape jobs besides the services, and other constants of queries.
const (
	edgeJob       = "edge"
	postgresJob   = "postgres-exporter"
	cacheJob      = "redis-cache-exporter"
	streamJob     = "redis-stream-exporter"
	nodeJob       = "node-exporter"
	kubeJob       = "kube-state-metrics"
	containerJob  = "cadvisor"
	appsNamespace = "apps"
	rate          = "[$__rate_interval]"
	ofPod         = "* on (namespace, pod) group_left (job, colour)"
	inFlightMost  = 256  // the gateway's bulkhead for one service
	ready         = 0.9  // share of a limit that deserves attention
	full          = 0.97 // share of a limit that is nearly exhausted
)

// latencies are the p99 latencies of the services by the labels.
func latencies(services []catalog.Service, matchers, by, legend string) []query {
	return slice.Map(services, func(service catalog.Service) query {
		return query{fmt.Sprintf("histogram_quantile(0.99, sum by (le, %s) (rate(%s_bucket{job=%q%s}%s)))", by, rule.RequestsOf(service).Duration, service.Name, matchers, rate), legend}
	})
}

// versioned adds the label version to a value by namespace and pod.
func versioned(value, job string) string {
	return fmt.Sprintf(`%s * on (namespace, pod) group_left (version) max by (namespace, pod, version) (service_info{job=%q})`, value, job)
}

// pods is 1 for each pod of the services, with the labels job and colour of the pod's own series.
func pods(selector string) string {
	matchers := `namespace="` + appsNamespace + `", label_colour!=""`
	if selector != "" {
		matchers += ", " + selector
	}
	return labelled("kube_pod_labels{"+matchers+"}", "namespace, pod")
}

// labelled sets job and colour from the labels of an object, and keeps only the given labels.
func labelled(series, keep string) string {
	return fmt.Sprintf(`max by (%s, job, colour) (label_replace(label_replace(%s, "job", "$1", "label_app_kubernetes_io_name", "(.*)"), "colour", "$1", "label_colour", "(.*)"))`,
		keep, series)
}

// deployments sums a value of Deployments by job and colour.
func deployments(value, selector string) string {
	series := fmt.Sprintf(`kube_deployment_labels{namespace=%q, label_colour!="", %s}`, appsNamespace, selector)
	return fmt.Sprintf("sum by (job, colour) (max by (namespace, deployment) (%s) * on (namespace, deployment) group_left (job, colour) %s)",
		value, labelled(series, "namespace, deployment"))
}

// named is the selector of a service's pods and Deployments by the label that kube-state-metrics exports.
func named(service string) string { return fmt.Sprintf("label_app_kubernetes_io_name=%q", service) }

// live is 1 for each job whose live colour this is, else 0. For services without the metric service_live, the colour with most of the
// requests counts as live.
func live(colour release.Colour) string {
	requests := fmt.Sprintf("max by (job) (%s{colour=%q}) >= bool max by (job) (%s)", RequestsByColour, colour, RequestsByColour)
	return fmt.Sprintf(`label_replace((max by (job) (service_live{colour=%q}) or (%s) unless on (job) service_live), "colour", %q, "", "")`,
		colour, requests, colour)
}

// liveColours is live for both colours, by job and colour.
func liveColours() string {
	return fmt.Sprintf("(%s or %s)", live(release.Blue), live(release.Green))
}

// liveNumber is a number for the live colours by job: 1 is blue, 2 green, 3 both (during a switch), 0 none.
func liveNumber() string {
	return fmt.Sprintf("sum by (job) (1 * %s or 2 * %s)", live(release.Blue), live(release.Green))
}

// wentLive is 1 for a colour that is live and wasn't a minute ago, by job and colour.
const wentLive = `max by (job, colour) (service_live) == 1 unless max by (job, colour) (service_live offset 1m) == 1`

// used is the cores or bytes that containers use.
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

const (
	cpu    = "cpu"
	memory = "memory"
)
