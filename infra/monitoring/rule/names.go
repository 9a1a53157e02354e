package rule

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
)

// apps is the namespace of the services.
const apps = string(namespace.Apps)

// always are the jobs of all platforms, with any services and settings.
var always = []string{
	network.Edge, "coredns", network.Postgres + network.Exporter, network.Cache + network.Exporter, network.Stream + network.Exporter,
	network.KubeStateMetrics, network.NodeExporter, network.Prometheus, network.Alertmanager, "kubelet", "cadvisor", "apiserver",
}

// Requests are the names of a service's metrics of requests: the total, the failures (5xx), and the duration, a histogram in seconds.
type Requests struct{ Total, Failed, Duration string }

// RequestsOf returns the names that apps/internal/telemetry registers for the service. The gateway has its own names
// (apps/api-gateway/main.go), since it distinguishes requests by their target service.
func RequestsOf(service catalog.Service) Requests {
	if service.Public {
		return Requests{"gateway_requests_total", "gateway_service_errors_total", "gateway_request_duration_seconds"}
	}
	return Requests{service.Role() + "_requests_total", service.Role() + "_errors_total", service.Role() + "_request_duration_seconds"}
}

// The metrics of Traefik, and their matchers for users' requests.
const (
	edgeRequests = "traefik_entrypoint_requests_total"
	edgeDuration = "traefik_entrypoint_request_duration_seconds"
	https        = `job="` + network.Edge + `", entrypoint="https"`
)

// OfUsers are matchers, with a comma before them, that exclude requests which other services make by themselves.
func OfUsers(service catalog.Service) string {
	if len(service.Internal) == 0 {
		return ""
	}
	return fmt.Sprintf(`, endpoint!~%q`, strings.Join(slice.Map(service.Internal, regexp.QuoteMeta), "|"))
}

// loud is a regular expression for the services whose missed objectives have this severity.
func loud(services []catalog.Service, severity catalog.Severity) string {
	var names []string
	for _, service := range services {
		if service.Objectives.Breach == severity {
			names = append(names, service.Name)
		}
	}
	return strings.Join(names, "|")
}

// severities are the severities of the services, pages first.
func severities(services []catalog.Service) []catalog.Severity {
	return slices.DeleteFunc([]catalog.Severity{catalog.Page, catalog.Ticket}, func(severity catalog.Severity) bool {
		return loud(services, severity) == ""
	})
}

// inside is a matcher for the platform's namespaces. Alerts ignore other namespaces.
func inside() string {
	names := slice.Map(namespace.All(), func(name namespace.Name) string { return string(name) })
	return fmt.Sprintf(`namespace=~"%s"`, strings.Join(names, "|"))
}

// noTarget matches if Prometheus has no target of a job. It doesn't match while Prometheus can't write samples, and so has none of any job.
func noTarget(job string) string { return fmt.Sprintf(`absent(up{job="%s"}) and on () count(up)`, job) }

// The following functions set the label job of series of kube-state-metrics, kubelets and exporters to the subject of the series.

// ofWorkload takes the job from the name of a workload in label, without the colour.
func ofWorkload(expr, label string) string { return relabelled(expr, label, "(.+?)(?:-blue|-green)?") }

// ofInstance takes the job from the name of an instance or its claim in label: data-redis-stream-0 belongs to redis-stream, postgres-1-2 to
// postgres.
func ofInstance(expr, label string) string {
	return relabelled(expr, label, "(?:data-)?(.+?)(?:-[0-9]+)*")
}

// ofPod takes the job from the pod's label app.kubernetes.io/name, or from its container without the label, and adds the node. The
// series of expr must have the labels namespace, pod and container.
func ofPod(expr, ours string) string {
	const label = "label_app_kubernetes_io_name"
	const key = "namespace, pod"
	placed := fmt.Sprintf(`(%s) * on (%s) group_left (node) max by (%s, node) (kube_pod_info{%s})`, expr, key, key, ours)
	named := fmt.Sprintf(`%s * on (%s) group_left (%s) max by (%s, %s) (kube_pod_labels{%s})`,
		relabelled(placed, "container", "(.+)"), key, label, key, label, ours)
	return fmt.Sprintf("sum without (%s) (%s)", label, relabelled(named, label, "(.+)"))
}

func relabelled(expr, label, pattern string) string {
	return fmt.Sprintf(`label_replace(%s, "job", "$1", "%s", "%s")`, expr, label, pattern)
}
