// Command infra is the platform: the program that pulumi runs to make a stack what it should be.
package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/data"
	"platform.example/infra/image"
	"platform.example/infra/release"
	"platform.example/infra/workload"
)

func main() {
	var given configuration
	pulumi.Run(func(ctx *pulumi.Context) error { return platform(ctx, given) }, given.capture)
}

// platform is everything, in the order in which it is built.
func platform(ctx *pulumi.Context, given configuration) error {
	services := catalog.Services()
	config, secrets, err := given.load(ctx, services)
	if err != nil {
		return err
	}
	root, err := projectRoot()
	if err != nil {
		return err
	}
	target := cluster.Target{Kubeconfig: within(root, config.Kubeconfig), Context: config.KubeContext}
	if err := target.Reachable(ctx); err != nil {
		return err
	}

	images, err := image.ForServices(ctx, config, services, root)
	if err != nil {
		return err
	}

	provider, err := target.Connect(ctx)
	if err != nil {
		return err
	}
	onCluster := pulumi.Providers(provider)

	stores, err := data.NewNamespace(ctx, pulumi.Provider(provider))
	if err != nil {
		return err
	}
	postgres, err := newPostgres(ctx, config, services, secrets, stores, onCluster)
	if err != nil {
		return err
	}
	cache, stream, err := newRedis(ctx, config, secrets, stores, onCluster)
	if err != nil {
		return err
	}

	apps, err := workload.NewNamespace(ctx, pulumi.Provider(provider))
	if err != nil {
		return err
	}
	demo := demoUser(config, secrets)
	told := outputs{services: pulumi.Map{}}
	for _, service := range services {
		running, err := workload.New(ctx, workload.Args{
			Namespace: apps,
			Config:    config,
			Service:   service,
			Colour:    release.Blue,
			Image:     images[service.Name],
			Postgres:  postgres.Endpoint(service),
			Cache:     cache.Endpoint(),
			Stream:    stream.Endpoint(),
			Secrets:   secrets,
			Demo:      demo,
		}, onCluster)
		if err != nil {
			return err
		}
		told.add(service, release.Blue, images[service.Name], running)
	}
	told.export(ctx, demo)
	return nil
}
