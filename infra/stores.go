package main

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/data"
	"platform.example/infra/image"
	"platform.example/infra/isolation"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
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
		Common:              common,
		Image:               p.upstream("postgres"),
		ServerImage:         p.upstream(p.config.Postgres.Image()),
		OperatorImage:       p.upstream("cloudnative-pg"),
		PoolerImage:         p.upstream("pgbouncer"),
		Certificate:         certificates[network.Postgres],
		OperatorCertificate: certificates[network.PostgresOperator],
		Backup:              p.backup(certificates[network.ObjectStore]),
		Former:              p.former,
		AdminPassword:       p.secrets.Value(catalog.PostgresAdminPassword),
		Passwords:           p.passwords(catalog.Service.DatabasePassword),
		Monitor:             p.secrets.Value(catalog.PostgresMonitorPassword),
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

// backup returns how Postgres reaches the object store.
func (p platform) backup(certificate secret.Certificate) data.Backup {
	backup := data.Backup{Image: p.upstream("versitygw"), Certificate: certificate, Granted: p.secrets.Has(catalog.BackupCredentials)}
	if backup.Granted {
		backup.Credentials = p.secrets.Value(catalog.BackupCredentials)
	}
	if p.config.ObjectStore() {
		backup.Credentials, backup.Granted = pulumi.Sprintf("platform:%s", p.secrets.Value(catalog.ObjectStoreKey)), true
	}
	return backup
}

// passwords returns the passwords of one kind by service.
func (p platform) passwords(name func(catalog.Service) string) map[string]pulumi.StringOutput {
	passwords := map[string]pulumi.StringOutput{}
	for _, service := range p.services {
		if p.secrets.Has(name(service)) {
			passwords[service.Name] = p.secrets.Value(name(service))
		}
	}
	return passwords
}

// grow expands the claims of volumes whose sizes were raised. It fails before any change if a claim can't have its size.
func (p platform) grow(ctx *pulumi.Context, here *cluster.Cluster) error {
	volume := func(setting string, place namespace.Name, server string, size quantity.Bytes) cluster.Volume {
		return cluster.Volume{Setting: setting, Namespace: p.config.NamespacePrefix.Of(place), Claim: "data-" + server, Size: size, Class: p.config.StorageClass}
	}
	var volumes []cluster.Volume
	for i := range p.config.Monitoring.Replicas {
		volumes = append(volumes, volume("monitoring.volumeSize", namespace.Monitoring, fmt.Sprintf("%s-%d", network.Prometheus, i), p.config.Monitoring.VolumeSize))
	}
	for i := range p.config.Stream.Instances {
		if p.config.Stream.Address == "" {
			volumes = append(volumes, volume("stream.volumeSize", namespace.Data, fmt.Sprintf("%s-%d", network.Stream, i), p.config.Stream.VolumeSize))
		}
	}
	growing, err := here.Growing(ctx.Context(), volumes)
	if err != nil {
		return err
	}
	if p.config.Postgres.Address == "" { // its operator expands the claims
		instances, err := here.Claimed(ctx.Context(), volume("postgres.volumeSize", namespace.Data, "", p.config.Postgres.VolumeSize), "cnpg.io/pvcRole=PG_DATA")
		if err != nil {
			return err
		}
		if _, err := here.Growing(ctx.Context(), instances); err != nil {
			return err
		}
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
