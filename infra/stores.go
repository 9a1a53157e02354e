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

// stores is where the services keep what they know.
type stores struct {
	postgres *data.Postgres
	cache    *data.Redis
	stream   *data.Redis
}

// upstream is the reference of an image that others make.
func (p platform) upstream(name string) string {
	return image.Upstream(name, p.config.Environment, p.profile.RegistryMirror)
}

func (p platform) newStores(
	ctx *pulumi.Context, namespaces map[namespace.Name]*isolation.Namespace, certificates map[string]secret.Certificate, opts ...pulumi.ResourceOption,
) (made stores, err error) {
	common := data.Common{
		Namespace:   namespaces[namespace.Data],
		Rollout:     p.rollout,
		Profile:     p.profile,
		JobPriority: namespaces[namespace.Apps].Priority,
		Prefix:      p.config.NamespacePrefix,
		Requested:   p.config.Requested,
		Authority:   pulumi.String(p.secrets.Authority().Bundle).ToStringOutput(),
	}
	made.postgres, err = data.NewPostgres(ctx, "postgres", data.PostgresArgs{
		Common:        common,
		Config:        p.config,
		Services:      p.services,
		Image:         p.upstream("postgres"),
		Certificate:   certificates[network.Postgres],
		AdminPassword: p.secrets.Value(catalog.PostgresAdminPassword),
		Passwords:     p.passwords(catalog.Service.DatabasePassword),
		Monitor:       p.secrets.Value(catalog.PostgresMonitorPassword),
	}, opts...)
	if err != nil {
		return made, err
	}
	made.cache, err = data.NewCache(ctx, "redis-cache", data.RedisArgs{
		Common:      common,
		Config:      p.config,
		Services:    p.services,
		Image:       p.upstream("redis"),
		Certificate: certificates[network.Cache],
		Passwords: data.RedisPasswords{
			Admin: p.secrets.Value(catalog.RedisPassword), Monitor: p.secrets.Value(catalog.RedisMonitorPassword),
			Services: p.passwords(catalog.Service.CachePassword),
		},
	}, opts...)
	if err != nil {
		return made, err
	}
	made.stream, err = data.NewStream(ctx, "redis-stream", data.RedisArgs{
		Common:      common,
		Config:      p.config,
		Services:    p.services,
		Image:       p.upstream("redis"),
		Certificate: certificates[network.Stream],
		Passwords: data.RedisPasswords{
			Admin: p.secrets.Value(catalog.StreamPassword), Monitor: p.secrets.Value(catalog.StreamMonitorPassword),
			Services: p.passwords(catalog.Service.StreamPassword),
		},
	}, opts...)
	return made, err
}

// passwords is one kind of password of the services that have it, by service.
func (p platform) passwords(name func(catalog.Service) string) map[string]pulumi.StringOutput {
	names := map[string]string{}
	for _, service := range p.services {
		names[service.Name] = name(service)
	}
	return p.secrets.Values(names)
}

// grow expands the claims of volumes whose sizes were raised. A size that a claim can't have is refused, before anything changes.
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
		_ = ctx.Log.Info(fmt.Sprintf("claim %s/%s grows to %s", volume.Namespace, volume.Claim, volume.Size), nil) // if that fails, the engine is gone
		if ctx.DryRun() {
			continue
		}
		if err := here.Grow(ctx.Context(), volume, p.config.Deadline); err != nil {
			return err
		}
	}
	return nil
}
