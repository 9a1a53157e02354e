package main

import (
	"context"
	"slices"
	"time"

	"platform.example/infra/cluster"
	"platform.example/infra/data"
	"platform.example/infra/isolation"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/workload"
)

// server is a server with a certificate of the stack's own authority, in the Secret <name>-certificate.
type server struct {
	name      string
	namespace namespace.Name
	hosts     []string // DNS names
}

func (s server) secret() string { return s.name + "-certificate" }

// servers returns the stores in the cluster, and the edge unless it has an external certificate.
func (p platform) servers() []server {
	var servers []server
	add := func(store, address string, instances ...string) {
		if address == "" {
			hosts := append([]string{p.config.NamespacePrefix.Host(store, namespace.Data)}, instances...)
			servers = append(servers, server{store, namespace.Data, slices.Compact(hosts)})
		}
	}
	add(network.Postgres, p.config.Postgres.Address, p.config.NamespacePrefix.Host(network.Pooler, namespace.Data)) // the pooler has it, too
	add(network.PostgresOperator, p.config.Postgres.Address)
	add(network.Cache, p.config.Redis.Address)
	add(network.Stream, p.config.Stream.Address, data.StreamInstances(p.config)...)
	if p.config.ObjectStore() {
		add(network.ObjectStore, "")
	}
	if p.config.Edge.TLSSecret == "" && p.config.Edge.Issuer == "" {
		hosts := slices.Compact([]string{p.config.Edge.Host, "localhost"})
		servers = append(servers, server{network.Edge, namespace.Edge, hosts})
	}
	return servers
}

// newCertificates returns the certificates by server. It issues those that are missing on the cluster or due for renewal, so that an
// expired one never blocks the update that replaces it. Without a cluster, it issues all.
func (p platform) newCertificates(ctx context.Context, here *cluster.Cluster) (map[string]secret.Certificate, error) {
	certificates := map[string]secret.Certificate{}
	for _, server := range p.servers() {
		served := ""
		if here != nil {
			var err error
			if served, err = here.Certificate(ctx, p.config.NamespacePrefix.Of(server.namespace), server.secret()); err != nil {
				return nil, err
			}
		}
		certificate, err := p.secrets.Certificate(served, server.hosts, p.config.CertificateDuration, time.Now())
		if err != nil {
			return nil, err
		}
		certificates[server.name] = certificate
	}
	return certificates, nil
}

// renewed returns the certificates for the CronJob that renews them.
func (p platform) renewed(namespaces map[namespace.Name]*isolation.Namespace) []workload.Certificate {
	var renewed []workload.Certificate
	for _, server := range p.servers() {
		renewed = append(renewed, workload.Certificate{
			Namespace: namespaces[server.namespace], Secret: server.secret(), Hosts: server.hosts,
			Path: release.Path("Secret", p.config.NamespacePrefix.Of(server.namespace), server.secret()),
		})
	}
	return renewed
}
