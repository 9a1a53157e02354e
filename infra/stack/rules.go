package stack

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
)

// rule checks several settings together. Parse reports its fault at the first path, and only if no path has another fault.
type rule struct {
	paths []string
	check func(Stack) string // returns the fault, or an empty string
}

func rules(services []catalog.Service) []rule {
	rules := []rule{
		{[]string{"build"}, func(s Stack) string {
			return fault(s.Environment == Production && s.Build, "true: production never builds: it runs the images of stack %s", s.PromotesFrom)
		}},
		{[]string{"promotesFrom", "build"}, imagesComeFromOnePlace},
		{[]string{"registry", "build"}, func(s Stack) string { return fault(s.Build && s.Registry == "", "not set: want "+wantRegistry) }},
		{[]string{"signature.identity", "signature.issuer", "signature.key"}, func(s Stack) string {
			return fault((s.Signature.Identity == "") != (s.Signature.Issuer == "") || s.Signature.Identity != "" && s.Signature.Key != "",
				"want either signature.key, or signature.identity and signature.issuer")
		}},
		{[]string{"demo"}, func(s Stack) string {
			return fault(s.Demo && s.Environment != Local, "true: only a stack of environment local has a demo user")
		}},
		{[]string{"edge.httpPort", "edge.type"}, func(s Stack) string { return nodePortIsGiven(s.Edge, s.Edge.HTTPPort) }},
		{[]string{"edge.httpsPort", "edge.type"}, func(s Stack) string { return nodePortIsGiven(s.Edge, s.Edge.HTTPSPort) }},
		{[]string{"edge.httpsPort", "edge.httpPort"}, func(s Stack) string {
			return fault(s.Edge.Type == NodePort && s.Edge.HTTPPort == s.Edge.HTTPSPort, "%d is edge.httpPort too", s.Edge.HTTPSPort)
		}},
		{[]string{"edge.host"}, func(s Stack) string {
			return fault(s.Edge.Host == "", "not set: want the DNS name that clients use, such as api.example.com")
		}},
		{[]string{"edge.tlsSecret", "edge.issuer"}, someoneCertifiesTheEdge},
		{[]string{"replicas.max", "replicas.min"}, func(s Stack) string { return maxIsNotBelowMin(s.Replicas) }},
		{[]string{"edge.proxyProtocol", "edge.trustedProxies"}, func(s Stack) string {
			return fault(s.Edge.ProxyProtocol && len(s.Edge.TrustedProxies) == 0,
				"true: want edge.trustedProxies too, the networks of the load balancers that may set the client's address")
		}},
		{[]string{"monitoring.retention"}, func(s Stack) string {
			return fault(s.Environment == Production && s.Monitoring.Retention < 30, "%d days: want at least 30d in production, the window of the objectives", s.Monitoring.Retention)
		}},
		{[]string{"backup.bucket"}, func(s Stack) string {
			return fault(s.Environment == Production && s.Postgres.Address == "" && s.Backup.Bucket == "",
				"not set: production wants a bucket for the backups of Postgres, such as s3://backups/shop")
		}},
		{[]string{"postgres.restore.from", "postgres.restore.cluster", "postgres.cluster"}, func(s Stack) string {
			restore := s.Postgres.Restore
			return fault(restore.Cluster != 0 && (restore.From == 0 || restore.From >= restore.Cluster || !s.Backed()),
				"want the number of an earlier cluster than postgres.restore.cluster %d, and backup.bucket with its archive", restore.Cluster)
		}},
		{[]string{"postgres.pooler", "postgres.address"}, func(s Stack) string {
			return fault(s.Postgres.Pooler > 0 && s.Postgres.Address != "", "%d: postgres.address is a managed server: want 0, and a pooler of its provider", s.Postgres.Pooler)
		}},
		{[]string{"certificateDuration", "postgres.pooler"}, func(s Stack) string {
			return fault(s.Postgres.Pooler > 0 && s.CertificateDuration < leastPooled, "%s: want at least %s with postgres.pooler, which loads a renewed certificate within an hour",
				s.CertificateDuration, leastPooled)
		}},
		{[]string{"postgres.memory"}, func(s Stack) string { return hasRoom(s.Postgres.Memory, leastPostgres) }},
		{[]string{"replicas.max", "postgres.memory"}, func(s Stack) string { return connectionsFit(s, services) }},
		{[]string{"redis.memory"}, func(s Stack) string { return hasRoom(s.Redis.Memory, leastRedis) }},
		{[]string{"stream.memory"}, func(s Stack) string { return hasRoom(s.Stream.Memory, leastRedis) }},
		{[]string{"stream.instances"}, func(s Stack) string {
			return fault(s.Stream.Instances == 2, "2: want 1 or 3: the Sentinel of one instance alone may not choose a primary")
		}},
		// The append-only file grows to twice its size before a rewrite, which needs room for a new one.
		{[]string{"stream.volumeSize", "stream.memory"}, func(s Stack) string {
			return fault(s.Stream.VolumeSize < 3*s.Stream.Memory, "%q is below three times stream.memory %q", s.Stream.VolumeSize, s.Stream.Memory)
		}},
		{[]string{"postgres.network", "postgres.address"}, func(s Stack) string { return firewallKnows(s.Postgres.Store) }},
		{[]string{"redis.network", "redis.address"}, func(s Stack) string { return firewallKnows(s.Redis.Store) }},
		{[]string{"stream.network", "stream.address"}, func(s Stack) string { return firewallKnows(s.Stream.Store) }},
	}
	for _, service := range services {
		path := servicePath(service.Name)
		rules = append(rules, rule{[]string{path + ".replicas.max", path + ".replicas.min", "replicas.max", "replicas.min"},
			func(s Stack) string { return maxIsNotBelowMin(s.Services[service.Name].Replicas) }})
		for _, setting := range service.Settings {
			rules = append(rules, rule{[]string{path + "." + setting.Needs, path + "." + setting.Key}, func(s Stack) string {
				chosen := s.Services[service.Name].Settings
				return fault(setting.Needs != "" && chosen[setting.Key] != "" && chosen[setting.Needs] == "", "not set: %s needs it", setting.Key)
			}})
		}
	}
	return rules
}

// delivery are the rules on alerts, which depend on the names of the secrets.
func delivery(secret []string) []rule {
	has := func(name string) bool { return slices.Contains(secret, name) }
	pages := has(catalog.SlackWebhookURL) || has(catalog.PagerDutyRoutingKey) || has(catalog.AlertWebhookURL)
	wanted := func(name, means string, set bool) rule {
		return rule{[]string{name}, func(s Stack) string {
			return fault(s.Environment == Production && !set, "missing: production wants %s: `pulumi config set --secret %s:%s --stack %s`", means, Namespace, name, s.Name)
		}}
	}
	linked := func(path string, lacks func(Monitoring) bool) rule {
		return rule{[]string{path}, func(s Stack) string {
			return fault(s.Environment != Local && pages && lacks(s.Monitoring), "not set: want the https:// URL that notifications of alerts link to: "+
				"`pulumi config set --path %s:%s <URL> --stack %s`", Namespace, path, s.Name)
		}}
	}
	return []rule{
		wanted(catalog.PagerDutyRoutingKey, "this, "+catalog.SlackWebhookURL+" or "+catalog.AlertWebhookURL+", so that pages reach somebody", pages),
		wanted(catalog.DeadMansSwitchURL, "a service that raises an alarm when the heartbeat of the monitoring stops", has(catalog.DeadMansSwitchURL)),
		linked("monitoring.prometheusUrl", func(m Monitoring) bool { return m.PrometheusURL == "" }),
		linked("monitoring.alertmanagerUrl", func(m Monitoring) bool { return m.AlertmanagerURL == "" }),
		linked("monitoring.grafanaUrl", func(m Monitoring) bool { return m.Grafana && m.GrafanaURL == "" }),
		linked("monitoring.runbooks", func(m Monitoring) bool { return m.Runbooks == "" }),
	}
}

// fault formats the fault if the condition is true.
func fault(condition bool, format string, values ...any) string {
	if !condition {
		return ""
	}
	return fmt.Sprintf(format, values...)
}

func imagesComeFromOnePlace(s Stack) string {
	switch {
	case !s.Build && s.PromotesFrom == "":
		return "not set: the stack builds nothing (build: false): want the name of the stack whose images it runs"
	case s.PromotesFrom == s.Name:
		return fmt.Sprintf("%q: is the stack itself", s.PromotesFrom)
	default:
		return fault(s.Build && s.PromotesFrom != "",
			"%q: the stack builds its own images: set build to false to run those of that stack", s.PromotesFrom)
	}
}

func nodePortIsGiven(edge Edge, port int) string {
	return fault(edge.Type == NodePort && port == 0, "not set: edge.type NodePort needs "+wantNodePort)
}

func someoneCertifiesTheEdge(s Stack) string {
	set := s.Edge.TLSSecret != "" || s.Edge.Issuer != ""
	switch {
	case s.Edge.TLSSecret != "" && s.Edge.Issuer != "":
		return fmt.Sprintf("%q: edge.issuer is set too: want one of them", s.Edge.TLSSecret)
	case s.Environment == Local && set:
		return "a stack of environment local has an authority of its own: set neither edge.tlsSecret nor edge.issuer"
	default:
		return fault(s.Environment != Local && !set, "not set: want the Secret in namespace edge with the certificate of edge.host, "+
			"or edge.issuer, a ClusterIssuer of cert-manager that issues it")
	}
}

func maxIsNotBelowMin(replicas Replicas) string {
	return fault(replicas.Max < replicas.Min, "%d is below replicas.min %d", replicas.Max, replicas.Min)
}

// firewallKnows requires the network of a store with a DNS name, since a NetworkPolicy only has addresses.
func firewallKnows(store Store) string {
	host, _, err := net.SplitHostPort(store.Address)
	if err != nil || store.Network != "" {
		return "" // in the cluster, or set
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return fmt.Sprintf("not set: want the network in which %s is, such as 192.0.2.0/24, for the NetworkPolicy", host)
}

// The minimum memory of a store, in MiB.
const (
	leastPostgres = 256 // with a useful cache
	leastRedis    = 16  // with less, even a nearly empty Redis evicts or refuses entries
)

func hasRoom(memory, least quantity.Bytes) string {
	return fault(memory < least, "%q: want at least %dMi", memory, least)
}

const (
	// reservedConnections are for the superuser, backups, the exporter and a person with psql.
	reservedConnections = 16
	// fewestConnections is the minimum of MaxConnections, if the memory suffices.
	fewestConnections = 400
	// connectionKiB is the memory of a busy connection, measured with Postgres 15: 1444 KiB of private memory with prepared
	// statements and a catalog like ours, and 196 KiB of page tables.
	connectionKiB = 1640
)

// Connections is the connection limit of a service's role: the pools of all replicas and of one surplus replica during a rolling
// update, in both colours, and two for the migration.
func (r Replicas) Connections() int { return catalog.DatabaseConnections*(r.Max+1)*2 + 2 }

// leastPooled is the minimum duration of certificates with a pooler: a certificate is renewed in the last third of its duration.
const leastPooled = 6 * time.Hour

// Pool returns the limits of one instance of the pooler: server connections per database, and clients in total. All instances, and one more
// during a rolling update, have together at most the connections of one colour of the largest service: the other colour may connect directly
// while the pooler is introduced or removed. An instance accepts all clients, since the others may be down.
func (s Stack) Pool(services []catalog.Service) (servers, clients int) {
	needed, _ := s.connections(services)
	for _, service := range services {
		if service.Database != "" {
			servers = max(servers, catalog.DatabaseConnections*(s.Services[service.Name].Replicas.Max+1))
		}
	}
	return servers / (s.Postgres.Pooler + 1), needed - reservedConnections
}

// connections returns the number of connections that the services need, and the number that one more service may need.
func (s Stack) connections(services []catalog.Service) (needed, more int) {
	needed = reservedConnections
	for _, service := range services {
		if service.Database != "" {
			limit := s.Services[service.Name].Replicas.Connections()
			needed, more = needed+limit, max(more, limit)
		}
	}
	return needed, more
}

// room is the number of connections for which the server has memory besides shared_buffers, which is a quarter.
func (p Postgres) room() int { return int(p.Memory) * 3 / 4 * 1024 / connectionKiB }

// MaxConnections is the server's max_connections: enough for the services and one more, rounded up generously, within the memory.
// A change restarts the server, so an added service should rarely change the value.
func (s Stack) MaxConnections(services []catalog.Service) int {
	needed, more := s.connections(services)
	limit := fewestConnections
	for limit < needed+more {
		limit *= 2
	}
	return max(needed, min(limit, s.Postgres.room()))
}

func connectionsFit(s Stack, services []catalog.Service) string {
	needed, _ := s.connections(services)
	if s.Postgres.Address != "" || needed <= s.Postgres.room() {
		return ""
	}
	return fmt.Sprintf("%d: the services with a database may hold %d connections to Postgres (for each service %d × (replicas.max + 1) × 2 "+
		"+ 2, and %d for others); postgres.memory %s has room for %d (%d KiB each in three quarters of it): lower replicas.max for all or "+
		"for single services, or raise postgres.memory", s.Replicas.Max, needed, catalog.DatabaseConnections, reservedConnections,
		s.Postgres.Memory, s.Postgres.room(), connectionKiB)
}
