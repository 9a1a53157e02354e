package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/data"
	"platform.example/infra/image"
	"platform.example/infra/isolation"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/workload"
)

// stores are the stores of the services.
type stores struct {
	postgres *data.Postgres
	cache    *data.Redis
	stream   *data.Redis
}

// upstream is the reference of a third-party image.
func (p platform) upstream(name string) string {
	return image.Upstream(name, p.config.Environment, p.profile.RegistryMirror)
}

func (p platform) newStores(
	ctx *pulumi.Context, namespaces map[namespace.Name]*isolation.Namespace, certificates map[string]secret.Certificate, opts ...pulumi.ResourceOption,
) (created stores, err error) {
	common := data.Common{
		Namespace:   namespaces[namespace.Data],
		Rollout:     p.rollout,
		Profile:     p.profile,
		JobPriority: namespaces[namespace.Apps].Priority,
		Config:      p.config,
		Services:    p.services,
		Authority:   pulumi.String(p.secrets.Authority().Bundle).ToStringOutput(),
	}
	created.postgres, err = data.NewPostgres(ctx, "postgres", data.PostgresArgs{
		Common:        common,
		Image:         p.upstream("postgres"),
		Certificate:   certificates[network.Postgres],
		AdminPassword: p.secrets.Value(catalog.PostgresAdminPassword),
		Passwords:     p.passwords(catalog.Service.DatabasePassword),
		Monitor:       p.secrets.Value(catalog.PostgresMonitorPassword),
	}, opts...)
	if err != nil {
		return created, err
	}
	redis := func(owner, admin, monitor string, password func(catalog.Service) string) data.RedisArgs {
		return data.RedisArgs{Common: common, Image: p.upstream("redis"), Certificate: certificates[owner], Passwords: data.RedisPasswords{
			Admin: p.secrets.Value(admin), Monitor: p.secrets.Value(monitor), Services: p.passwords(password),
		}}
	}
	cache := redis(network.Cache, catalog.RedisPassword, catalog.RedisMonitorPassword, catalog.Service.CachePassword)
	if created.cache, err = data.NewCache(ctx, "redis-cache", cache, opts...); err != nil {
		return created, err
	}
	stream := redis(network.Stream, catalog.StreamPassword, catalog.StreamMonitorPassword, catalog.Service.StreamPassword)
	created.stream, err = data.NewStream(ctx, "redis-stream", stream, opts...)
	return created, err
}

// passwords returns the passwords of one kind by service.
func (p platform) passwords(name func(catalog.Service) string) map[string]pulumi.StringOutput {
	names := map[string]string{}
	for _, service := range p.services {
		names[service.Name] = name(service)
	}
	return p.secrets.Values(names)
}

// grow expands the claims of volumes whose sizes were raised. It fails before any change if a claim can't have its size.
func (p platform) grow(ctx *pulumi.Context, here *cluster.Cluster) error {
	volume := func(setting string, place namespace.Name, server string, size quantity.Bytes) cluster.Volume {
		return cluster.Volume{Setting: setting, Namespace: p.config.NamespacePrefix.Of(place), Claim: "data-" + server + "-0", Size: size, Class: p.config.StorageClass}
	}
	volumes := []cluster.Volume{volume("monitoring.volumeSize", namespace.Monitoring, network.Prometheus, p.config.Monitoring.VolumeSize)}
	if p.config.Postgres.Address == "" {
		volumes = append(volumes, volume("postgres.volumeSize", namespace.Data, network.Postgres, p.config.Postgres.VolumeSize))
	}
	if p.config.Stream.Address == "" {
		volumes = append(volumes, volume("stream.volumeSize", namespace.Data, network.Stream, p.config.Stream.VolumeSize))
	}
	growing, err := here.Growing(ctx.Context(), volumes)
	if err != nil {
		return err
	}
	for _, volume := range growing {
		_ = ctx.Log.Info(fmt.Sprintf("claim %s/%s grows to %s", volume.Namespace, volume.Claim, volume.Size), nil) // fails only without an engine
		if ctx.DryRun() {
			continue
		}
		if err := here.Grow(ctx.Context(), volume, p.config.Deadline); err != nil {
			return err
		}
	}
	return nil
}

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
	for _, store := range []struct{ name, address, host string }{
		{network.Postgres, p.config.Postgres.Address, catalog.PostgresHost(p.config.NamespacePrefix)},
		{network.Cache, p.config.Redis.Address, catalog.RedisHost(p.config.NamespacePrefix)},
		{network.Stream, p.config.Stream.Address, catalog.StreamHost(p.config.NamespacePrefix)},
	} {
		if store.address == "" {
			servers = append(servers, server{store.name, namespace.Data, []string{store.host}})
		}
	}
	if p.config.Edge.TLSSecret == "" && p.config.Edge.Issuer == "" {
		hosts := slices.Compact([]string{p.config.Edge.Host, "localhost"})
		servers = append(servers, server{network.Edge, namespace.Edge, hosts})
	}
	return servers
}

// readCertificates returns the current certificates and keys in PEM, by server.
func (p platform) readCertificates(ctx context.Context, here *cluster.Cluster) (map[string]string, error) {
	served := map[string]string{}
	for _, server := range p.servers() {
		pair, err := here.Certificate(ctx, p.config.NamespacePrefix.Of(server.namespace), server.secret())
		if err != nil {
			return nil, err
		}
		served[server.name] = pair
	}
	return served, nil
}

// certificates returns the certificates by server. It issues missing ones and those that are due for renewal, so that an expired one
// never blocks the update that replaces it.
func (p platform) certificates() (map[string]secret.Certificate, error) {
	certificates := map[string]secret.Certificate{}
	for _, server := range p.servers() {
		certificate, err := p.secrets.Certificate(p.served[server.name], server.hosts, p.config.CertificateDuration, time.Now())
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
