package rule

import (
	"fmt"
	"strings"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
)

// The namespace of the services, and what Prometheus calls those it asks.
const (
	apps = "apps"

	kubeStateMetrics = "kube-state-metrics"
	nodeExporter     = "node-exporter"
	exporter         = "-exporter"
)

// always is the jobs that a platform has, whatever its services and settings.
var always = []string{
	network.Edge, "coredns", network.Postgres + exporter, network.Cache + exporter, network.Stream + exporter,
	kubeStateMetrics, nodeExporter, "prometheus", "alertmanager", "kubelet", "cadvisor", "apiserver",
}

// Requests names the metrics by which a service counts what it is asked: all requests, those answered 5xx, and how long
// they took, a histogram in seconds.
type Requests struct{ Total, Failed, Duration string }

// RequestsOf is what apps/internal/telemetry registers under the service's name; the gateway, which tells its requests
// apart by whom they are for, has names of its own (apps/api-gateway/internal/api).
func RequestsOf(service catalog.Service) Requests {
	if service.Public {
		return Requests{"gateway_requests_total", "gateway_service_errors_total", "gateway_request_duration_seconds"}
	}
	return Requests{service.Role() + "_requests_total", service.Role() + "_errors_total", service.Role() + "_request_duration_seconds"}
}

// loud is an alternative of the services' names whose missed objectives are of this severity, for a =~ matcher.
func loud(services []catalog.Service, severity catalog.Severity) string {
	var names []string
	for _, service := range services {
		if service.Objectives.Breach == severity {
			names = append(names, service.Name)
		}
	}
	return strings.Join(names, "|")
}

// severities is those of the services, the louder first.
func severities(services []catalog.Service) []catalog.Severity {
	var found []catalog.Severity
	for _, severity := range []catalog.Severity{catalog.Page, catalog.Ticket} {
		if loud(services, severity) != "" {
			found = append(found, severity)
		}
	}
	return found
}

// inside is a matcher of the platform's namespaces: what goes wrong in others is nothing to wake our people for.
func inside() string {
	var names []string
	for _, name := range namespace.All() {
		names = append(names, string(name))
	}
	return fmt.Sprintf(`namespace=~"%s"`, strings.Join(names, "|"))
}

// The series of kube-state-metrics, of kubelets and of exporters speak of others than who tells them; the label job says
// of whom. These set it.

// ofWorkload takes the job from the name of a workload in label: a Deployment of a service ends in its colour.
func ofWorkload(expr, label string) string { return relabelled(expr, label, "(.+?)(?:-blue|-green)?") }

// ofClaim takes the job from a PersistentVolumeClaim's name: data-postgres-0 is that of postgres.
func ofClaim(expr string) string {
	return relabelled(expr, "persistentvolumeclaim", "(?:data-)?(.+?)(?:-[0-9]+)?")
}

// ofStore takes the job from that of the exporter beside it.
func ofStore(expr string) string { return relabelled(expr, "job", "(.+)"+exporter) }

// ofPod takes the job from the pod's label app.kubernetes.io/name, where it has none from its container, and adds the node
// on which it runs. What expr yields must have namespace, pod and container.
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
