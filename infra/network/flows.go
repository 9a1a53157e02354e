// Package network derives the NetworkPolicies from the catalog. All namespaces deny traffic by default.
package network

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
	"platform.example/infra/profile"
	"platform.example/infra/stack"
)

// Label is the label of a pod's owner: a service, a store, the edge or another part of the platform. A Job of a service has the service's
// label, so that it can reach the stores.
const Label = "platform.example/of"

// The owners of pods besides the services.
const (
	Edge     = "edge"
	Postgres = "postgres"
	Cache    = "redis-cache"
	Stream   = "redis-stream"

	// Pooler is PgBouncer between the services and Postgres.
	Pooler = "postgres-pooler"

	// ObjectStore has the backups of a local stack.
	ObjectStore = "object-store"

	// PostgresOperator runs the instances of Postgres.
	PostgresOperator = "postgres-operator"

	// Retire is the Job that retires standby versions.
	Retire = "retire"

	// Certificates is the CronJob that renews certificates.
	Certificates = "certificates"

	// Setup is the suffix of the Job that sets up a store.
	Setup = "-setup"
)

// Solver is the owner of the pods with which cert-manager solves challenges (ACME, HTTP-01).
const Solver = "acme-solver"

// CloudNativePG is the owner of the pods of an operator of Postgres that the stack didn't create.
const CloudNativePG = "cloudnative-pg"

// Selector selects an owner's pods.
func Selector(owner string) map[string]string {
	switch owner {
	case Solver:
		return map[string]string{"acme.cert-manager.io/http01-solver": "true"}
	case CloudNativePG: // the label of its manifests, its Helm chart and its bundle for OLM
		return map[string]string{"app.kubernetes.io/name": CloudNativePG}
	}
	return map[string]string{Label: owner}
}

// The ports of the other pods.
const (
	SolverPort   = 8089
	PostgresPort = 5432
	OperatorPort = 9443

	ObjectStorePort = 7070
	InstancePort    = 8000 // of an instance of Postgres, for the operator and for other instances
	RedisPort       = 6379
	SentinelPort    = 26379
	EdgeHTTPPort    = 8080
	EdgeHTTPSPort   = 8443
)

// Policy is the allowed traffic of one owner's pods. Its name is the owner's, with a suffix if it is a further policy of the owner.
type Policy struct {
	Namespace namespace.Name
	Owner     string
	Suffix    string
	Ingress   []Flow
	Egress    []Flow
}

// Name is the name of the policy's object.
func (p Policy) Name() string { return p.Owner + p.Suffix }

// Flow is a peer and the port of the server.
type Flow struct {
	Peer Peer
	Port int
}

// Peer is an owner's pods, or a network.
type Peer struct {
	Namespace namespace.Name // empty for any
	Owner     string
	Network   string   // CIDR; empty for pods
	Except    []string // networks within Network
}

// metadata are the addresses of clouds' metadata services, which return a node's credentials: link-local addresses, and AWS' for IPv6.
var metadata = []string{"169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"}

// private are the networks that aren't on the internet: RFC 1918 and 6598, loopback, link-local, and their equivalents in IPv6.
var private = []string{
	"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
	"::1/128", "fc00::/7", "fe80::/10",
}

// anywhere is all addresses of the cluster's IP families except for some networks.
func anywhere(p profile.Profile, except ...string) []Peer {
	var peers []Peer
	for _, family := range p.Families {
		all := netip.MustParsePrefix("0.0.0.0/0")
		if family == stack.IPv6 {
			all = netip.MustParsePrefix("::/0")
		}
		excluded := slices.DeleteFunc(slices.Clone(except), func(network string) bool {
			prefix, err := netip.ParsePrefix(network)
			return err != nil || !all.Contains(prefix.Addr())
		})
		peers = append(peers, Peer{Network: all.String(), Except: excluded})
	}
	return peers
}

// internet is all addresses that are neither private nor those of pods or Services.
func internet(p profile.Profile) []Peer {
	return anywhere(p, slices.Concat(private, profile.Outside(slices.Concat(p.PodNetworks, p.ServiceNetworks), private))...)
}

// flows combines peers and ports.
func flows(peers []Peer, ports ...int) []Flow {
	var flows []Flow
	for _, port := range ports {
		for _, peer := range peers {
			flows = append(flows, Flow{peer, port})
		}
	}
	return flows
}

// Policies returns all policies of a stack in a stable order.
func Policies(config stack.Stack, p profile.Profile, services []catalog.Service) []Policy {
	policies := []Policy{{
		Namespace: namespace.Edge,
		Owner:     Edge,
		Ingress:   flows(anywhere(p), EdgeHTTPPort, EdgeHTTPSPort),
	}}
	if config.Edge.Issuer != "" {
		solve := Flow{Peer{Namespace: namespace.Edge, Owner: Solver}, SolverPort}
		policies[0].Egress = append(policies[0].Egress, solve)
		edge := Flow{Peer{Namespace: namespace.Edge, Owner: Edge}, SolverPort}
		policies = append(policies, Policy{Namespace: namespace.Edge, Owner: Solver, Ingress: []Flow{edge}})
	}
	for _, service := range services {
		if service.Public {
			policies[0].Egress = append(policies[0].Egress, toService(service.Name))
		}
		policies = append(policies, ofService(config, p, services, service))
	}
	for _, store := range stores(config) {
		policies = append(policies, store.policies(services)...)
	}
	if at := slices.IndexFunc(policies, func(p Policy) bool { return p.Owner == Postgres }); at >= 0 {
		replicate(&policies[at], p)
		if config.ObjectStore() {
			policies[at].Egress = append(policies[at].Egress, Flow{Peer{Namespace: namespace.Data, Owner: ObjectStore}, ObjectStorePort})
			server := Flow{Peer{Namespace: namespace.Data, Owner: Postgres}, ObjectStorePort}
			policies = append(policies, Policy{Namespace: namespace.Data, Owner: ObjectStore, Ingress: []Flow{server}})
		} else if config.Backed() {
			stores := internet(p)
			if config.Backup.Network != "" {
				stores = []Peer{{Network: config.Backup.Network}}
			}
			policies[at].Egress = append(policies[at].Egress, flows(stores, portOf(config.Backup.Endpoint))...)
		}
		instance := Flow{Peer{Namespace: namespace.Data, Owner: Postgres}, InstancePort}
		if p.Operator {
			policies = append(policies, Policy{Namespace: namespace.Data, Owner: PostgresOperator, Egress: append(toAPIServer(p), instance)})
		}
	}
	policies = watched(config, p, policies)
	if config.Postgres.Pooler > 0 {
		policies = append(policies, pooled(p, services)...)
	}
	return policies
}

// pooled are the policies of the pooler. Those of its peers are objects of their own: an update that removes the pooler deletes them at its
// end, when the services no longer use it.
func pooled(p profile.Profile, services []catalog.Service) []Policy {
	const suffix = "-with-pooler"
	pooler := Peer{Namespace: namespace.Data, Owner: Pooler}
	policies := []Policy{
		{
			Namespace: namespace.Data, Owner: Pooler,
			Ingress: []Flow{{Peer{Namespace: namespace.Monitoring, Owner: Prometheus}, PoolerMetricsPort}},
			Egress:  append(toAPIServer(p), Flow{Peer{Namespace: namespace.Data, Owner: Postgres}, PostgresPort}),
		},
		{Namespace: namespace.Data, Owner: Postgres, Suffix: suffix, Ingress: []Flow{{pooler, PostgresPort}}},
		{Namespace: namespace.Monitoring, Owner: Prometheus, Suffix: suffix, Egress: []Flow{{pooler, PoolerMetricsPort}}},
	}
	for _, service := range services {
		if service.Database != "" {
			policies[0].Ingress = append(policies[0].Ingress, Flow{Peer{Namespace: namespace.Apps, Owner: service.Name}, PostgresPort})
			policies = append(policies, Policy{Namespace: namespace.Apps, Owner: service.Name, Suffix: suffix, Egress: []Flow{{pooler, PostgresPort}}})
		}
	}
	return policies
}

// replicate adds the flows between the instances of Postgres, and those with the operator and the API server.
func replicate(policy *Policy, p profile.Profile) {
	for _, port := range []int{PostgresPort, InstancePort} {
		instance := Flow{Peer{Namespace: namespace.Data, Owner: Postgres}, port}
		policy.Ingress, policy.Egress = append(policy.Ingress, instance), append(policy.Egress, instance)
	}
	operator := []Peer{{Namespace: namespace.Data, Owner: PostgresOperator}}
	if !p.Operator {
		operator = []Peer{{Owner: CloudNativePG}}
	}
	policy.Ingress = append(policy.Ingress, flows(operator, InstancePort)...)
	policy.Egress = append(policy.Egress, toAPIServer(p)...)
}

// Distinct returns an error if a service has the name of another owner, with which it would share policies and metrics.
func Distinct(policies []Policy) error {
	owners := map[string]bool{}
	for _, policy := range policies {
		if owners[policy.Name()] {
			return fmt.Errorf("service %s: the platform has pods of this name already: choose another name", policy.Owner)
		}
		owners[policy.Name()] = true
	}
	return nil
}

func toService(name string) Flow {
	return Flow{Peer{Namespace: namespace.Apps, Owner: name}, catalog.HTTPPort}
}

func ofService(config stack.Stack, p profile.Profile, services []catalog.Service, service catalog.Service) Policy {
	policy := Policy{Namespace: namespace.Apps, Owner: service.Name}
	// Each service requests its own live Service to find out which colour is live.
	for _, caller := range append([]string{service.Name}, catalog.Callers(services, service.Name)...) {
		policy.Ingress = append(policy.Ingress, toService(caller))
	}
	if service.Public {
		policy.Ingress = append(policy.Ingress, Flow{Peer{Namespace: namespace.Edge, Owner: Edge}, catalog.HTTPPort})
	}
	for _, called := range append([]string{service.Name}, service.Calls...) {
		policy.Egress = append(policy.Egress, toService(called))
	}
	for _, store := range stores(config) {
		if store.usedBy(service) {
			policy.Egress = append(policy.Egress, store.flows()...)
		}
	}
	for _, setting := range service.Settings {
		if address := config.Services[service.Name].Settings[setting.Key]; setting.Reaches && address != "" {
			policy.Egress = append(policy.Egress, flows(internet(p), portOf(address))...)
		}
	}
	return policy
}

// portOf is the port of an https URL, which the stack has checked.
func portOf(address string) int {
	if parsed, err := url.Parse(address); err == nil {
		if port, err := strconv.Atoi(parsed.Port()); err == nil {
			return port
		}
	}
	return 443
}

// store is a store in the cluster or an external one.
type store struct {
	owner  string
	ports  []int
	at     stack.Store
	usedBy func(catalog.Service) bool
	setup  bool // has a set-up Job even if it is external
}

func stores(config stack.Stack) []store {
	stream := []int{RedisPort}
	if config.Stream.Instances > 1 && config.Stream.Address == "" {
		stream = append(stream, SentinelPort)
	}
	return []store{
		{Postgres, []int{PostgresPort}, config.Postgres.Store, func(s catalog.Service) bool { return s.Database != "" }, true},
		{Cache, []int{RedisPort}, config.Redis.Store, func(s catalog.Service) bool { return s.Cache != nil }, false},
		{Stream, stream, config.Stream.Store, func(s catalog.Service) bool { return s.Stream != nil }, false},
	}
}

// flows are the flows to the store.
func (s store) flows() []Flow {
	host, port, err := net.SplitHostPort(s.at.Address)
	if err != nil {
		return flows([]Peer{{Namespace: namespace.Data, Owner: s.owner}}, s.ports...)
	}
	peer := Peer{Network: s.at.Network}
	if address, err := netip.ParseAddr(host); err == nil && s.at.Network == "" {
		peer.Network = netip.PrefixFrom(address, address.BitLen()).String()
	}
	number, _ := strconv.Atoi(port) // the stack has checked it
	return []Flow{{peer, number}}
}

// policies are the policies of the store's own pods.
func (s store) policies(services []catalog.Service) []Policy {
	inCluster := s.at.Address == ""
	var policies []Policy
	if inCluster {
		policy := Policy{Namespace: namespace.Data, Owner: s.owner}
		for _, service := range services {
			if s.usedBy(service) {
				policy.Ingress = append(policy.Ingress, flows([]Peer{{Namespace: namespace.Apps, Owner: service.Name}}, s.ports...)...)
			}
		}
		policy.Ingress = append(policy.Ingress, flows([]Peer{{Namespace: namespace.Data, Owner: s.owner + Setup}}, s.ports...)...)
		if len(s.ports) > 1 { // instances and Sentinels, each among themselves and with the others
			policy.Ingress, policy.Egress = append(policy.Ingress, s.flows()...), s.flows()
		}
		policies = append(policies, policy)
	}
	if inCluster || s.setup {
		policies = append(policies, Policy{Namespace: namespace.Data, Owner: s.owner + Setup, Egress: s.flows()})
	}
	return policies
}

// The owners of the monitoring's pods.
const (
	Prometheus       = "prometheus"
	Alertmanager     = "alertmanager"
	Grafana          = "grafana"
	Collector        = "otel-collector"
	KubeStateMetrics = "kube-state-metrics"
	NodeStateMetrics = KubeStateMetrics + "-nodes"
	NodeExporter     = "node-exporter"

	// Exporter is the suffix of a store's exporter.
	Exporter = "-exporter"
)

// The ports of the monitoring's pods.
const (
	PrometheusPort       = 9090
	AlertmanagerPort     = 9093
	GossipPort           = 9094 // of Alertmanager's replicas, TCP and UDP
	GrafanaPort          = 3000
	CollectorPort        = 4318 // OTLP over HTTP
	CollectorOpsPort     = 8888
	KubeStateMetricsPort = 8080
	NodeExporterPort     = 9100
	PostgresExporterPort = 9187
	InstanceMetricsPort  = 9187
	PoolerMetricsPort    = 9127
	RedisExporterPort    = 9121
	EdgeOpsPort          = 9090
)

// CollectorURL is the URL to which services send their traces.
func CollectorURL(prefix namespace.Prefix) string {
	return fmt.Sprintf("http://%s:%d", prefix.Host(Collector, namespace.Monitoring), CollectorPort)
}

// nodePorts are the ports of kubelets, of CoreDNS, and of the platform's public address.
var nodePorts = []int{10250, 9153, 443}

// toAPIServer are the flows to the API server, by its Service or directly.
func toAPIServer(p profile.Profile) []Flow {
	peers := anywhere(p, metadata...)
	if len(p.APIServer) > 0 {
		peers = slice.Map(p.APIServer, func(network string) Peer { return Peer{Network: network} })
	}
	return flows(peers, p.APIServerPorts...)
}

// watched adds the policies of the monitoring, and the scrapes of Prometheus to all policies.
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
		case policies[i].Owner == Postgres:
			scrape(&policies[i], InstanceMetricsPort)
		case policies[i].Owner == Edge:
			scrape(&policies[i], EdgeOpsPort)
			scrape(&policies[i], EdgeHTTPSPort) // as a client
		}
	}

	own := func(owner string, port int, egress ...Flow) *Policy {
		policy := &Policy{Namespace: namespace.Monitoring, Owner: owner, Egress: egress}
		scrape(policy, port)
		return policy
	}
	add := func(policy *Policy) { policies = append(policies, *policy) }

	alertmanager := own(Alertmanager, AlertmanagerPort, flows(internet(p), 443)...)
	if config.Monitoring.Replicas > 1 {
		replica := from(Alertmanager, GossipPort)
		alertmanager.Ingress, alertmanager.Egress = append(alertmanager.Ingress, replica), append(alertmanager.Egress, replica)
	}
	if config.Monitoring.WebhookNetwork != "" {
		webhook := []Peer{{Network: config.Monitoring.WebhookNetwork}}
		alertmanager.Egress = append(alertmanager.Egress, flows(webhook, webhookPorts...)...)
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
		add(own(exporter, port, store.flows()[0]))
		if at := slices.IndexFunc(policies, func(p Policy) bool { return p.Owner == store.owner }); at >= 0 {
			policies[at].Ingress = append(policies[at].Ingress, from(exporter, store.ports[0]))
		}
	}
	if config.Monitoring.Grafana {
		add(own(Grafana, GrafanaPort, from(Prometheus, PrometheusPort), from(Alertmanager, AlertmanagerPort)))
		prometheus.Ingress = append(prometheus.Ingress, from(Grafana, PrometheusPort))
		alertmanager.Ingress = append(alertmanager.Ingress, from(Grafana, AlertmanagerPort))
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

// webhookPorts are the allowed ports of a webhook in webhookNetwork.
var webhookPorts = []int{80, 443, 8080, 8443}
