package data

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// Cache is a Redis that evicts what is used least, and may lose everything at any time.
type Cache struct {
	pulumi.ResourceState
	endpoint Endpoint
}

// CacheArgs describes the cache.
type CacheArgs struct {
	Namespace *corev1.Namespace
	Config    stack.Redis
	Image     string
	Password  pulumi.StringOutput
}

// NewCache makes the cache.
func NewCache(ctx *pulumi.Context, name string, args CacheArgs, opts ...pulumi.ResourceOption) (*Cache, error) {
	cache := &Cache{}
	// What it was called before: without this, the new one would be made and then, having the same name, be deleted as
	// the old one.
	opts = append(opts, pulumi.Aliases([]pulumi.Alias{{Type: pulumi.String("platform:data:Redis")}}))
	if err := ctx.RegisterComponentResource("platform:data:Cache", name, cache, opts...); err != nil {
		return nil, err
	}
	server := redisServer{
		name: name, namespace: args.Namespace, image: args.Image, password: args.Password, starts: 60,
		config: fmt.Sprintf("maxmemory %dmb\nmaxmemory-policy allkeys-lru\nlazyfree-lazy-eviction yes\nappendonly no\n",
			int(args.Config.Memory)),
		// A quarter beyond the entries for fragmentation, and a part that does not grow with them.
		memory: args.Config.Memory*5/4 + 32*quantity.MiB,
	}
	cache.endpoint = server.endpoint(cache)
	parent := pulumi.Parent(cache)
	config, err := server.newConfig(ctx, parent)
	if err != nil {
		return nil, err
	}
	if _, err := newStoreService(ctx, name, args.Namespace, redisPort, parent); err != nil {
		return nil, err
	}
	_, err = appsv1.NewDeployment(ctx, name, &appsv1.DeploymentArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name:      pulumi.String(name),
			Namespace: args.Namespace.Metadata.Name(),
			Labels:    labels(name),
		},
		Spec: appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1),
			// Never two at once: one could answer what the other was told to forget.
			Strategy: appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")},
			Selector: metav1.LabelSelectorArgs{MatchLabels: labels(name)},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: labels(name)},
				Spec:     server.pod(config),
			},
		},
	}, parent, storeTimeouts())
	if err != nil {
		return nil, err
	}
	return cache, ctx.RegisterResourceOutputs(cache, pulumi.Map{
		"host": pulumi.String(cache.endpoint.Host),
		"port": pulumi.Int(cache.endpoint.Port),
	})
}

// Endpoint is how every service reaches the cache.
func (c *Cache) Endpoint() Endpoint { return c.endpoint }
