package network

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
	"platform.example/infra/profile"
	"platform.example/infra/stack"
)

// The owners of the pods that watch the others.
const (
	Prometheus       = "prometheus"
	Alertmanager     = "alertmanager"
	Grafana          = "grafana"
	Collector        = "otel-collector"
	KubeStateMetrics = "kube-state-metrics"
	NodeStateMetrics = KubeStateMetrics + "-nodes"
	NodeExporter     = "node-exporter"

	// Exporter is added to a store's name.
	Exporter = "-exporter"
)

// The ports of the pods that watch the others.
const (
	PrometheusPort       = 9090
	AlertmanagerPort     = 9093
	GrafanaPort          = 3000
	CollectorPort        = 4318 // OTLP over HTTP
	CollectorOpsPort     = 8888
	KubeStateMetricsPort = 8080
	NodeExporterPort     = 9100
	PostgresExporterPort = 9187
	RedisExporterPort    = 9121
	EdgeOpsPort          = 9090
)

// CollectorURL is where services send their traces.
func CollectorURL(prefix namespace.Prefix) string {
	return fmt.Sprintf("http://%s:%d", prefix.Host(Collector, namespace.Monitoring), CollectorPort)
}

// nodePorts is those of kubelets and of CoreDNS.
var nodePorts = []int{10250, 9153}

// toAPIServer leads to the API server, behind its Service or itself.
func toAPIServer(p profile.Profile) []Flow {
	peers := anywhere(p, metadata...)
	if len(p.APIServer) > 0 {
		peers = nil
		for _, network := range p.APIServer {
			peers = append(peers, Peer{Network: network})
		}
	}
	return flows(peers, p.APIServerPorts...)
}

// watched adds to the policies those of monitoring, and to each of them what Prometheus asks.
func watched(config stack.Stack, p profile.Profile, policies []Policy) []Policy {
	prometheus := Policy{Namespace: namespace.Monitoring, Owner: Prometheus, Egress: append(flows(anywhere(p, metadata...), nodePorts...), toAPIServer(p)...)}
	from := func(owner string, port int) Flow {
		return Flow{Peer{Namespace: namespace.Monitoring, Owner: owner}, port}
	}
	scrape := func(target *Policy, port int) {
		target.Ingress = append(target.Ingress, from(Prometheus, port))
		prometheus.Egress = append(prometheus.Egress, Flow{Peer{Namespace: target.Namespace, Owner: target.Owner}, port})
	}
	for i := range policies {
		switch {
		case policies[i].Namespace == namespace.Apps:
			scrape(&policies[i], catalog.OpsPort)
		case policies[i].Owner == Edge:
			scrape(&policies[i], EdgeOpsPort)
		}
	}

	own := func(owner string, port int, egress ...Flow) *Policy {
		policy := &Policy{Namespace: namespace.Monitoring, Owner: owner, Egress: egress}
		scrape(policy, port)
		return policy
	}
	add := func(policy *Policy) { policies = append(policies, *policy) }

	alertmanager := own(Alertmanager, AlertmanagerPort, flows(internet(p), 443)...)
	if config.Monitoring.WebhookNetwork != "" {
		for _, port := range webhookPorts {
			alertmanager.Egress = append(alertmanager.Egress, Flow{Peer{Network: config.Monitoring.WebhookNetwork}, port})
		}
	}
	add(own(KubeStateMetrics, KubeStateMetricsPort, toAPIServer(p)...))
	add(own(NodeStateMetrics, KubeStateMetricsPort, toAPIServer(p)...))
	add(&Policy{Namespace: namespace.Apps, Owner: Retire, Egress: toAPIServer(p)})
	add(&Policy{Namespace: namespace.Data, Owner: Certificates, Egress: toAPIServer(p)})
	add(own(NodeExporter, NodeExporterPort))
	for _, store := range stores(config) {
		exporter, port := store.owner+Exporter, RedisExporterPort
		if store.owner == Postgres {
			port = PostgresExporterPort
		}
		add(own(exporter, port, store.flow()))
		if at := slices.IndexFunc(policies, func(p Policy) bool { return p.Owner == store.owner }); at >= 0 {
			policies[at].Ingress = append(policies[at].Ingress, from(exporter, store.port))
		}
	}
	if config.Monitoring.Grafana {
		grafana := own(Grafana, GrafanaPort, from(Prometheus, PrometheusPort), from(Alertmanager, AlertmanagerPort))
		prometheus.Ingress = append(prometheus.Ingress, from(Grafana, PrometheusPort))
		alertmanager.Ingress = append(alertmanager.Ingress, from(Grafana, AlertmanagerPort))
		add(grafana)
	}
	if host, text, err := net.SplitHostPort(config.Monitoring.TracesHostPort()); err == nil && host != "" {
		port, _ := strconv.Atoi(text) // the stack has checked it
		collector := own(Collector, CollectorOpsPort, flows(anywhere(p, metadata...), port)...)
		for i := range policies {
			if policies[i].Namespace == namespace.Apps {
				collector.Ingress = append(collector.Ingress, Flow{Peer{Namespace: namespace.Apps, Owner: policies[i].Owner}, CollectorPort})
				policies[i].Egress = append(policies[i].Egress, from(Collector, CollectorPort))
			}
		}
		add(collector)
	}
	add(alertmanager)
	scrape(&prometheus, PrometheusPort)
	return append(policies, prometheus)
}

// webhookPorts is where a webhook within the network of its own may listen.
var webhookPorts = []int{80, 443, 8080, 8443}
