package data

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// Cache is a Redis that evicts what is used least, and may lose everything at any time.
type Cache struct {
	pulumi.ResourceState
	endpoint  Endpoint
	inCluster bool
	passwords RedisPasswords
}

// CacheArgs describes the cache.
type CacheArgs struct {
	Common
	Config      stack.Redis
	Services    []catalog.Service
	Image       string
	Certificate secret.Certificate
	Passwords   RedisPasswords
}

// NewCache makes the cache, unless it is elsewhere.
func NewCache(ctx *pulumi.Context, name string, args CacheArgs, opts ...pulumi.ResourceOption) (*Cache, error) {
	cache := &Cache{inCluster: args.Config.Address == "", passwords: args.Passwords}
	if err := ctx.RegisterComponentResource("platform:data:Cache", name, cache, opts...); err != nil {
		return nil, err
	}
	cache.endpoint = elsewhere(args.Config.Store)
	if cache.inCluster {
		var err error
		if cache.endpoint, err = args.newServer(ctx, pulumi.Parent(cache)); err != nil {
			return nil, err
		}
	}
	return cache, ctx.RegisterResourceOutputs(cache, pulumi.Map{
		"host": pulumi.String(cache.endpoint.Host),
		"port": pulumi.Int(cache.endpoint.Port),
	})
}

func (a CacheArgs) newServer(ctx *pulumi.Context, parent pulumi.ResourceOption) (Endpoint, error) {
	const name = network.Cache
	server := redisServer{
		Common: a.Common, name: name, image: a.Image, certificate: a.Certificate, starts: 60,
		users: a.Passwords.users(a.Services, func(s catalog.Service) *catalog.Access { return s.Cache }),
		config: fmt.Sprintf("maxmemory %dmb\nmaxmemory-policy allkeys-lru\nlazyfree-lazy-eviction yes\nappendonly no\n",
			int(a.Config.Memory)),
		// A quarter beyond the entries for fragmentation, and a part that does not grow with them.
		memory: a.Config.Memory*5/4 + 32*quantity.MiB,
	}
	objects, err := server.newObjects(ctx, parent)
	if err != nil {
		return Endpoint{}, err
	}
	if _, err := a.newService(ctx, name, network.RedisPort, parent); err != nil {
		return Endpoint{}, err
	}
	running, err := appsv1.NewDeployment(ctx, name, &appsv1.DeploymentArgs{
		Metadata: a.named(name),
		Spec: appsv1.DeploymentSpecArgs{
			Replicas:                pulumi.Int(1),
			RevisionHistoryLimit:    pulumi.Int(cluster.FormerReplicaSets),
			ProgressDeadlineSeconds: pulumi.Int(a.Rollout.Seconds()),
			// Never two at once: one could answer what the other was told to forget.
			Strategy: appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")},
			Selector: metav1.LabelSelectorArgs{MatchLabels: labels(name)},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: podLabels(name)},
				Spec:     server.pod(objects),
			},
		},
	}, append(a.Rollout.Options(), parent)...)
	if err != nil {
		return Endpoint{}, err
	}
	users, err := server.newUsers(ctx, catalog.RedisHost(a.Prefix), objects, parent, pulumi.DependsOn([]pulumi.Resource{running}))
	if err != nil {
		return Endpoint{}, err
	}
	return Endpoint{
		Host: catalog.RedisHost(a.Prefix), Port: network.RedisPort, Authority: a.Authority, Ready: []pulumi.Resource{users},
	}, nil
}

// Endpoint is how a service reaches the cache.
func (c *Cache) Endpoint(service catalog.Service) Endpoint {
	return c.passwords.endpoint(c.endpoint, c.inCluster, service)
}

// MonitorEndpoint is how an exporter reaches its statistics.
func (c *Cache) MonitorEndpoint() Endpoint {
	return c.passwords.as(c.endpoint, c.inCluster, monitor, c.passwords.Monitor)
}
