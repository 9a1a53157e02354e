package main

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/data"
	"platform.example/infra/image"
	"platform.example/infra/stack"
)

func newPostgres(
	ctx *pulumi.Context, config stack.Stack, services []catalog.Service, secrets map[string]pulumi.StringOutput,
	namespace *corev1.Namespace, opts ...pulumi.ResourceOption,
) (*data.Postgres, error) {
	server, err := image.Upstream("postgres", config.Name)
	if err != nil {
		return nil, err
	}
	passwords := map[string]pulumi.StringOutput{}
	for _, service := range services {
		if service.Database != "" {
			passwords[service.Name] = secrets[service.DatabasePassword()]
		}
	}
	return data.NewPostgres(ctx, "postgres", data.PostgresArgs{
		Namespace:     namespace,
		Config:        config,
		Services:      services,
		Image:         server,
		AdminPassword: secrets[catalog.PostgresAdminPassword],
		Passwords:     passwords,
	}, opts...)
}

// newRedis makes the two: one that may forget, one that must not.
func newRedis(
	ctx *pulumi.Context, config stack.Stack, secrets map[string]pulumi.StringOutput,
	namespace *corev1.Namespace, opts ...pulumi.ResourceOption,
) (*data.Cache, *data.Stream, error) {
	server, err := image.Upstream("redis", config.Name)
	if err != nil {
		return nil, nil, err
	}
	cache, err := data.NewCache(ctx, "redis-cache", data.CacheArgs{
		Namespace: namespace,
		Config:    config.Redis,
		Image:     server,
		Password:  secrets[catalog.RedisPassword],
	}, opts...)
	if err != nil {
		return nil, nil, err
	}
	stream, err := data.NewStream(ctx, "redis-stream", data.StreamArgs{
		Namespace: namespace,
		Config:    config,
		Image:     server,
		Password:  secrets[catalog.StreamPassword],
	}, opts...)
	return cache, stream, err
}
