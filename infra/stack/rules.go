package stack

import (
	"fmt"
	"net"
	"net/netip"

	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
)

// rule holds settings against each other. A fault is reported at its first path, and only if each path is sound alone.
type rule struct {
	paths []string
	check func(Stack) string // what is wrong; empty for nothing
}

func rules(services []catalog.Service) []rule {
	rules := []rule{
		{[]string{"build"}, func(s Stack) string {
			return fault(s.Environment == Production && s.Build, "true: production never builds: it runs what stack %s has tested", s.PromotesFrom)
		}},
		{[]string{"promotesFrom", "build"}, imagesComeFromOnePlace},
		{[]string{"registry", "build"}, func(s Stack) string { return fault(s.Build && s.Registry == "", "not set: want "+wantRegistry) }},
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
				"true: want edge.trustedProxies too, the networks of the load balancers whose word on the client's address is believed")
		}},
		{[]string{"postgres.memory"}, func(s Stack) string { return hasRoom(s.Postgres.Memory, leastPostgres) }},
		{[]string{"replicas.max", "postgres.memory"}, func(s Stack) string { return connectionsFit(s, services) }},
		{[]string{"redis.memory"}, func(s Stack) string { return hasRoom(s.Redis.Memory, leastRedis) }},
		{[]string{"stream.memory"}, func(s Stack) string { return hasRoom(s.Stream.Memory, leastRedis) }},
		// There is room for the append-only file as it grows to twice its size, and for the new one.
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

// fault is what is wrong, if it is so.
func fault(is bool, format string, values ...any) string {
	if !is {
		return ""
	}
	return fmt.Sprintf(format, values...)
}

func imagesComeFromOnePlace(s Stack) string {
	switch {
	case !s.Build && s.PromotesFrom == "":
		return "not set: the stack builds nothing (build: false), so want the name of the stack whose images it runs"
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
	given := s.Edge.TLSSecret != "" || s.Edge.Issuer != ""
	switch {
	case s.Edge.TLSSecret != "" && s.Edge.Issuer != "":
		return fmt.Sprintf("%q: edge.issuer is set too: want one of them", s.Edge.TLSSecret)
	case s.Environment == Local && given:
		return "a stack of environment local has an authority of its own: set neither edge.tlsSecret nor edge.issuer"
	default:
		return fault(s.Environment != Local && !given, "not set: want the Secret in namespace edge that holds the certificate for edge.host, "+
			"or edge.issuer, a ClusterIssuer of cert-manager that makes one")
	}
}

func maxIsNotBelowMin(replicas Replicas) string {
	return fault(replicas.Max < replicas.Min, "%d is below replicas.min %d", replicas.Max, replicas.Min)
}

// firewallKnows is about names: a NetworkPolicy has only numbers.
func firewallKnows(store Store) string {
	host, _, err := net.SplitHostPort(store.Address)
	if err != nil || store.Network != "" {
		return "" // in the cluster, or known
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return fmt.Sprintf("not set: want the network in which %s is, such as 192.0.2.0/24: nothing else is let through to it", host)
}

// What is the least memory of a store, in MiB.
const (
	leastPostgres = 256 // its own minimum with a useful cache
	leastRedis    = 16  // an empty Redis takes some, so that less would evict, or refuse, all the time
)

func hasRoom(memory, least quantity.Bytes) string {
	return fault(memory < least, "%q: want at least %dMi", memory, least)
}
