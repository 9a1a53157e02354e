package network

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
	"platform.example/infra/profile"
	"platform.example/infra/stack"
)

// link is a permitted call of one owner to another's port.
type link struct {
	from, to string
	port     int
}

// links are the calls that the policies of both ends permit within the cluster.
func links(t *testing.T, policies []Policy) map[link]bool {
	t.Helper()
	in, out := map[link]bool{}, map[link]bool{}
	for _, policy := range policies {
		for _, flow := range policy.Ingress {
			if flow.Peer.Network == "" {
				in[link{flow.Peer.Owner, policy.Owner, flow.Port}] = true
			}
		}
		for _, flow := range policy.Egress {
			if flow.Peer.Network == "" {
				out[link{policy.Owner, flow.Peer.Owner, flow.Port}] = true
			}
		}
	}
	for one := range in {
		if !out[one] {
			t.Errorf("%s lets %s in at %d, which may not go there", one.to, one.from, one.port)
		}
	}
	for one := range out {
		if !in[one] {
			t.Errorf("%s may go to %s at %d, which doesn't let it in", one.from, one.to, one.port)
		}
	}
	return in
}

// expected derives the links directly from the catalog.
func expected(services []catalog.Service) map[link]bool {
	expected := map[link]bool{
		{Postgres + Setup, Postgres, PostgresPort}: true,
		{Cache + Setup, Cache, RedisPort}:          true,
		{Stream + Setup, Stream, RedisPort}:        true,

		{Postgres + Exporter, Postgres, PostgresPort}: true,
		{Cache + Exporter, Cache, RedisPort}:          true,
		{Stream + Exporter, Stream, RedisPort}:        true,
	}
	for watched, port := range map[string]int{
		Edge: EdgeOpsPort, Prometheus: PrometheusPort, Alertmanager: AlertmanagerPort, KubeStateMetrics: KubeStateMetricsPort, NodeStateMetrics: KubeStateMetricsPort,
		NodeExporter: NodeExporterPort, Postgres + Exporter: PostgresExporterPort,
		Cache + Exporter: RedisExporterPort, Stream + Exporter: RedisExporterPort,
	} {
		expected[link{Prometheus, watched, port}] = true
	}
	expected[link{Prometheus, Edge, EdgeHTTPSPort}] = true // as a client
	for _, port := range []int{PostgresPort, InstancePort} {
		expected[link{Postgres, Postgres, port}] = true
	}
	expected[link{PostgresOperator, Postgres, InstancePort}], expected[link{Prometheus, Postgres, InstanceMetricsPort}] = true, true
	for _, service := range services {
		expected[link{Prometheus, service.Name, catalog.OpsPort}] = true
		expected[link{service.Name, service.Name, catalog.HTTPPort}] = true // which colour is live?
		if service.Public {
			expected[link{Edge, service.Name, catalog.HTTPPort}] = true
		}
		for _, called := range service.Calls {
			expected[link{service.Name, called, catalog.HTTPPort}] = true
		}
		if service.Database != "" {
			expected[link{service.Name, Postgres, PostgresPort}] = true
		}
		if service.Cache != nil {
			expected[link{service.Name, Cache, RedisPort}] = true
		}
		if service.Stream != nil {
			expected[link{service.Name, Stream, RedisPort}] = true
		}
	}
	return expected
}

// policiesOf returns the policies for a cluster without discovered properties.
func policiesOf(t *testing.T, config stack.Stack, services []catalog.Service) []Policy {
	t.Helper()
	p, err := profile.New(config, profile.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	return Policies(config, p, services)
}

func same(t *testing.T, got, want map[link]bool) {
	t.Helper()
	for one := range want {
		if !got[one] {
			t.Errorf("%s can't reach %s at %d", one.from, one.to, one.port)
		}
	}
	for one := range got {
		if !want[one] {
			t.Errorf("%s reaches %s at %d, which nothing calls", one.from, one.to, one.port)
		}
	}
}

func TestOnlyCallsOfTheCatalogAreAllowed(t *testing.T) {
	services := catalog.Services()
	same(t, links(t, policiesOf(t, stack.Stack{}, services)), expected(services))
}

// The instances of the stream and their Sentinels reach each other, and services also reach the Sentinels.
func TestInstancesOfTheStreamReachEachOther(t *testing.T) {
	services := catalog.Services()
	want := expected(services)
	want[link{Stream, Stream, RedisPort}], want[link{Stream, Stream, SentinelPort}], want[link{Stream + Setup, Stream, SentinelPort}] = true, true, true
	for _, service := range services {
		if service.Stream != nil {
			want[link{service.Name, Stream, SentinelPort}] = true
		}
	}
	same(t, links(t, policiesOf(t, stack.Stack{Stream: stack.Stream{Instances: 3}}, services)), want)
}

// The services and their migrations, which have the same label, reach the pooler and the primary.
func TestServicesReachThePooler(t *testing.T) {
	services := catalog.Services()
	want := expected(services)
	want[link{Pooler, Postgres, PostgresPort}], want[link{Prometheus, Pooler, PoolerMetricsPort}] = true, true
	for _, service := range services {
		if service.Database != "" {
			want[link{service.Name, Pooler, PostgresPort}] = true
		}
	}
	config := stack.Stack{Postgres: stack.Postgres{Pooler: 1}}
	policies := policiesOf(t, config, services)
	same(t, links(t, policies), want)
	if err := Distinct(policies); err != nil {
		t.Error(err)
	}
	without := policiesOf(t, stack.Stack{}, services)
	for _, policy := range without { // so that an update deletes the others at its end
		if at := slices.IndexFunc(policies, func(p Policy) bool { return p.Name() == policy.Name() }); at < 0 || !reflect.DeepEqual(policies[at], policy) {
			t.Errorf("the pooler changes the policy %s", policy.Name())
		}
	}
	if got := of(t, policies, Pooler).Egress; !slices.ContainsFunc(got, func(flow Flow) bool { return flow.Port == 6443 }) {
		t.Errorf("the pooler doesn't reach the API server: %v", got)
	}
}

// FuzzAnyCatalog generates catalogs: each bit decides whether one service uses one thing.
func FuzzAnyCatalog(f *testing.F) {
	f.Add(uint64(0))
	f.Add(^uint64(0))
	f.Add(uint64(0x5a5a_a5a5_0ff0_f00f))
	f.Fuzz(func(t *testing.T, bits uint64) {
		bit := func() bool { set := bits&1 == 1; bits = bits>>1 | bits<<63; return set }
		var services []catalog.Service
		const count = 5
		for i := range count {
			service := catalog.Service{Name: fmt.Sprintf("service-%d", i), Public: bit()}
			for j := range count {
				if bit() && i != j {
					service.Calls = append(service.Calls, fmt.Sprintf("service-%d", j))
				}
			}
			if bit() {
				service.Database = fmt.Sprintf("database%d", i)
			}
			if bit() {
				service.Cache = &catalog.Access{}
			}
			if bit() {
				service.Stream = &catalog.Access{}
			}
			services = append(services, service)
		}
		same(t, links(t, policiesOf(t, stack.Stack{}, services)), expected(services))
	})
}

func of(t *testing.T, policies []Policy, owner string) Policy {
	t.Helper()
	for _, policy := range policies {
		if policy.Owner == owner {
			return policy
		}
	}
	t.Fatalf("%s has no policy", owner)
	return Policy{}
}

func TestOnlyTheEdgeIsReachedFromOutside(t *testing.T) {
	for _, policy := range policiesOf(t, stack.Stack{}, catalog.Services()) {
		for _, flow := range policy.Ingress {
			if flow.Peer.Network != "" && policy.Owner != Edge {
				t.Errorf("%s is reached from %s", policy.Owner, flow.Peer.Network)
			}
		}
		// Only the monitoring and what asks the API server reaches other networks.
		if slices.Contains([]string{Postgres, PostgresOperator, Prometheus, KubeStateMetrics, NodeStateMetrics, Alertmanager, Retire, Certificates}, policy.Owner) {
			continue
		}
		for _, flow := range policy.Egress {
			if flow.Peer.Network != "" {
				t.Errorf("%s reaches %s", policy.Owner, flow.Peer.Network)
			}
		}
	}
}

func TestExternalStore(t *testing.T) {
	config := stack.Stack{}
	config.Postgres.Address, config.Postgres.Network = "db.example.com:6432", "192.0.2.0/24"
	config.Redis.Address = "192.0.2.9:6380"
	policies := policiesOf(t, config, catalog.Services())
	users := of(t, policies, "user-service")
	for _, want := range []Flow{{Peer{Network: "192.0.2.0/24"}, 6432}, {Peer{Network: "192.0.2.9/32"}, 6380}} {
		if !slices.ContainsFunc(users.Egress, func(flow Flow) bool {
			return flow.Peer.Network == want.Peer.Network && flow.Port == want.Port
		}) {
			t.Errorf("user-service doesn't reach %s:%d: %+v", want.Peer.Network, want.Port, users.Egress)
		}
	}
	setup := of(t, policies, Postgres+Setup)
	if len(setup.Egress) != 1 || setup.Egress[0].Peer.Network != "192.0.2.0/24" {
		t.Errorf("the databases are made from nowhere: %+v", setup)
	}
	for _, policy := range policies {
		if policy.Owner == Postgres || policy.Owner == Cache || policy.Owner == Cache+Setup {
			t.Errorf("there are no pods of %s", policy.Owner)
		}
	}
}

func TestSettingsReachTheInternet(t *testing.T) {
	config := stack.Stack{Services: map[string]stack.Service{
		"notification-service": {Settings: map[string]string{"webhookUrl": "https://hooks.example.com:8443/x"}},
		"api-gateway":          {Settings: map[string]string{"oidcIssuer": "https://accounts.example.com/x", "oidcClientId": "shop"}},
	}}
	for owner, port := range map[string]int{"notification-service": 8443, "api-gateway": 443} {
		egress := of(t, policiesOf(t, config, catalog.Services()), owner).Egress
		last := egress[len(egress)-1]
		if last.Peer.Network != "::/0" || last.Port != port || !slices.Contains(last.Peer.Except, "fe80::/10") ||
			!slices.Contains(last.Peer.Except, "fc00::/7") {
			t.Errorf("%s reaches %+v", owner, last)
		}
	}
	if last := of(t, policiesOf(t, stack.Stack{}, catalog.Services()), "api-gateway").Egress; slices.ContainsFunc(last, func(f Flow) bool { return f.Peer.Network != "" }) {
		t.Errorf("without a provider, api-gateway reaches %+v", last)
	}
}

func TestOptionalFlows(t *testing.T) {
	config := stack.Stack{Monitoring: stack.Monitoring{Grafana: true, Replicas: 2, Traces: "traces.example.com:4317", WebhookNetwork: "192.0.2.0/24"}}
	policies := policiesOf(t, config, catalog.Services())
	let := links(t, policies)
	for _, want := range []link{
		{Grafana, Prometheus, PrometheusPort}, {Grafana, Alertmanager, AlertmanagerPort}, {Prometheus, Grafana, GrafanaPort},
		{Alertmanager, Alertmanager, GossipPort}, {"order-service", Collector, CollectorPort}, {Prometheus, Collector, CollectorOpsPort},
	} {
		if !let[want] {
			t.Errorf("%s can't reach %s at %d", want.from, want.to, want.port)
		}
	}
	for owner, want := range map[string]Flow{Collector: {Peer{Network: "0.0.0.0/0"}, 4317}, Alertmanager: {Peer{Network: "192.0.2.0/24"}, 8080}} {
		if !slices.ContainsFunc(of(t, policies, owner).Egress, func(flow Flow) bool {
			return flow.Peer.Network == want.Peer.Network && flow.Port == want.Port
		}) {
			t.Errorf("%s doesn't reach %s:%d", owner, want.Peer.Network, want.Port)
		}
	}
}

func TestBackupsReachTheObjectStore(t *testing.T) {
	backed := func(environment stack.Environment, backup stack.Backup) []Policy {
		backup.Bucket = "s3://backups"
		return policiesOf(t, stack.Stack{Environment: environment, Backup: backup}, catalog.Services())
	}
	inside := link{Postgres, ObjectStore, ObjectStorePort}
	if !links(t, backed(stack.Local, stack.Backup{}))[inside] {
		t.Error("a local stack doesn't reach its object store")
	}
	for name, test := range map[string]struct {
		backup stack.Backup
		want   Flow
	}{
		"AWS":                  {stack.Backup{}, Flow{Peer{Network: "0.0.0.0/0"}, 443}},
		"another provider":     {stack.Backup{Endpoint: "https://objects.example.com:9000"}, Flow{Peer{Network: "0.0.0.0/0"}, 9000}},
		"in one's own network": {stack.Backup{Endpoint: "https://objects.example.com", Network: "192.0.2.0/24"}, Flow{Peer{Network: "192.0.2.0/24"}, 443}},
	} {
		policies := backed(stack.Production, test.backup)
		if links(t, policies)[inside] {
			t.Errorf("%s: there are no pods of %s", name, ObjectStore)
		}
		if !slices.ContainsFunc(of(t, policies, Postgres).Egress, func(flow Flow) bool {
			return flow.Peer.Network == test.want.Peer.Network && flow.Port == test.want.Port
		}) {
			t.Errorf("%s: Postgres doesn't reach %s:%d", name, test.want.Peer.Network, test.want.Port)
		}
	}
}

func TestOperatorOfAnotherOwnerReachesPostgres(t *testing.T) {
	p, err := profile.New(stack.Stack{}, profile.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	p.Operator = false
	policies := Policies(stack.Stack{}, p, catalog.Services())
	if slices.ContainsFunc(policies, func(policy Policy) bool { return policy.Owner == PostgresOperator }) {
		t.Error("there is a policy for an operator that the stack doesn't create")
	}
	// Some network plugins match no pod by an address.
	if ingress := of(t, policies, Postgres).Ingress; !slices.ContainsFunc(ingress, func(flow Flow) bool {
		return flow.Port == InstancePort && reflect.DeepEqual(flow.Peer, Peer{Owner: CloudNativePG})
	}) {
		t.Errorf("its pods in any namespace don't reach the instances: %+v", ingress)
	}
}

func TestPoliciesAreInTheNamespaceOfTheirPods(t *testing.T) {
	for _, policy := range policiesOf(t, stack.Stack{Postgres: stack.Postgres{Pooler: 1}}, catalog.Services()) {
		want := namespace.Apps
		switch policy.Owner {
		case Edge:
			want = namespace.Edge
		case Postgres, PostgresOperator, Pooler, Cache, Stream, Certificates, Postgres + Setup, Cache + Setup, Stream + Setup:
			want = namespace.Data
		case Prometheus, Alertmanager, KubeStateMetrics, NodeStateMetrics, NodeExporter, Postgres + Exporter, Cache + Exporter, Stream + Exporter:
			want = namespace.Monitoring
		}
		if policy.Namespace != want {
			t.Errorf("the policy of %s is in %s", policy.Owner, policy.Namespace)
		}
	}
}

func TestInternetHasTheClustersFamilies(t *testing.T) {
	config := stack.Stack{Services: map[string]stack.Service{
		"notification-service": {Settings: map[string]string{"webhookUrl": "https://hooks.example.com/x"}},
	}}
	old := []string{"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
	six := []string{"::1/128", "fc00::/7", "fe80::/10"}
	for _, test := range []struct {
		name  string
		facts profile.Facts
		edge  []string
		hooks []Peer
	}{
		{"unknown networks", profile.Facts{}, []string{"0.0.0.0/0", "::/0"}, []Peer{{Network: "0.0.0.0/0", Except: old}, {Network: "::/0", Except: six}}},
		{"IPv4", profile.Facts{Families: []stack.Family{stack.IPv4}, PodNetworks: []string{"10.1.0.0/24"}, ServiceNetworks: []string{"10.96.0.0/12"}},
			[]string{"0.0.0.0/0"}, []Peer{{Network: "0.0.0.0/0", Except: old}}},
		{"IPv6", profile.Facts{Families: []stack.Family{stack.IPv6}}, []string{"::/0"}, []Peer{{Network: "::/0", Except: six}}},
		{"pods with public addresses", profile.Facts{Families: []stack.Family{stack.IPv4}, PodNetworks: []string{"203.0.113.0/24"}},
			[]string{"0.0.0.0/0"}, []Peer{{Network: "0.0.0.0/0", Except: append(slices.Clone(old), "203.0.0.0/16")}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := profile.New(config, test.facts)
			if err != nil {
				t.Fatal(err)
			}
			policies := Policies(config, p, catalog.Services())
			var edge []string
			for _, flow := range of(t, policies, Edge).Ingress {
				if flow.Port == EdgeHTTPSPort && flow.Peer.Network != "" {
					edge = append(edge, flow.Peer.Network)
				}
			}
			var hooks []Peer
			for _, flow := range of(t, policies, "notification-service").Egress {
				if flow.Peer.Network != "" {
					hooks = append(hooks, flow.Peer)
				}
			}
			if !reflect.DeepEqual(edge, test.edge) || !reflect.DeepEqual(hooks, test.hooks) {
				t.Errorf("the edge is reached from %v, want %v; webhooks are at %v, want %v", edge, test.edge, hooks, test.hooks)
			}
		})
	}
}

func TestAPIServerPeers(t *testing.T) {
	config := stack.Stack{Cluster: stack.Cluster{APIServerPeers: []string{"192.0.2.1/32"}}}
	p, err := profile.New(config, profile.Facts{APIServerPorts: []int{16443}})
	if err != nil {
		t.Fatal(err)
	}
	want := flows([]Peer{{Network: "192.0.2.1/32"}}, 443, 6443, 16443)
	if got := of(t, Policies(config, p, catalog.Services()), KubeStateMetrics).Egress; !reflect.DeepEqual(got, want) {
		t.Errorf("kube-state-metrics reaches %v, want %v", got, want)
	}
}
