package data

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// Redis is the cache or the stream.
type Redis struct {
	pulumi.ResourceState
	endpoint  Endpoint
	inCluster bool
	passwords RedisPasswords
}

// RedisArgs describes the cache or the stream.
type RedisArgs struct {
	Common
	Image       string
	Certificate secret.Certificate
	Passwords   RedisPasswords
}

// NewCache creates the cache, unless it is external: a Redis that evicts the least recently used entries and doesn't persist.
func NewCache(ctx *pulumi.Context, name string, args RedisArgs, opts ...pulumi.ResourceOption) (*Redis, error) {
	config := args.Config.Redis
	return args.build(ctx, "platform:data:Cache", name, config.Store, catalog.RedisHost(args.Config.NamespacePrefix), redisServer{
		Common: args.Common, name: network.Cache, image: args.Image, certificate: args.Certificate, starts: 60,
		users: args.Passwords.users(args.Services, func(s catalog.Service) *catalog.Access { return s.Cache }),
		config: fmt.Sprintf("maxmemory %dmb\nmaxmemory-policy allkeys-lru\nlazyfree-lazy-eviction yes\nappendonly no\n",
			int(config.Memory)),
		// The entries, a quarter of them for fragmentation, and a constant part.
		memory: config.Memory*5/4 + 32*quantity.MiB,
	}, func(_ *corev1.Service, template corev1.PodTemplateSpecArgs, parent pulumi.ResourceOption) (pulumi.Resource, error) {
		spec := kube.Deployment(args.Rollout, kube.Labels(network.Cache), template)
		spec.Replicas = pulumi.Int(1)
		// Never two replicas at once: one could return entries that were deleted in the other.
		spec.Strategy = appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")}
		return appsv1.NewDeployment(ctx, network.Cache, &appsv1.DeploymentArgs{
			Metadata: args.named(network.Cache), Spec: spec,
		}, append(args.Rollout.Options(), parent)...)
	}, opts)
}

// appendFolder holds the append-only file.
const appendFolder = "/var/lib/redis"

// NewStream creates the stream, unless it is external: a Redis that evicts nothing, refuses entries beyond its memory, and syncs its
// append-only file each second. Services publish the events of a lost second again.
func NewStream(ctx *pulumi.Context, name string, args RedisArgs, opts ...pulumi.ResourceOption) (*Redis, error) {
	config := args.Config.Stream
	return args.build(ctx, "platform:data:Stream", name, config.Store, catalog.StreamHost(args.Config.NamespacePrefix), redisServer{
		Common: args.Common, name: network.Stream, image: args.Image, certificate: args.Certificate,
		users: args.Passwords.users(args.Services, func(s catalog.Service) *catalog.Access { return s.Stream }),
		config: fmt.Sprintf("maxmemory %dmb\nmaxmemory-policy noeviction\nappendonly yes\nappendfsync everysec\ndir %s\n",
			int(config.Memory), appendFolder),
		// The entries, half of them for changes during a rewrite by a fork, and a constant part.
		memory: config.Memory*3/2 + 32*quantity.MiB,
		starts: 300, // it reads the complete append-only file
		data:   appendFolder,
	}, func(service *corev1.Service, template corev1.PodTemplateSpecArgs, parent pulumi.ResourceOption) (pulumi.Resource, error) {
		return appsv1.NewStatefulSet(ctx, network.Stream, &appsv1.StatefulSetArgs{
			Metadata: args.named(network.Stream),
			Spec:     statefulSet(service, network.Stream, template, args.Config, config.VolumeSize),
		}, append(args.Rollout.Options(), parent, pulumi.Protect(args.Config.ProtectData), cluster.ClaimTemplatesStay())...)
	}, opts)
}

// statefulSet keeps the volume when the StatefulSet is deleted.
func statefulSet(
	service *corev1.Service, name string, template corev1.PodTemplateSpecArgs, config stack.Stack, size quantity.Bytes,
) appsv1.StatefulSetSpecArgs {
	spec := kube.StatefulSet(service.Metadata.Name().Elem(), kube.Labels(name), template, config.StorageClass, size)
	spec.PersistentVolumeClaimRetentionPolicy = appsv1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs{
		WhenDeleted: pulumi.String("Retain"), WhenScaled: pulumi.String("Retain"),
	}
	return spec
}

// build creates the store at the host. run creates the workload of its pods.
func (a RedisArgs) build(
	ctx *pulumi.Context, kind, name string, config stack.Store, host string, server redisServer,
	run func(*corev1.Service, corev1.PodTemplateSpecArgs, pulumi.ResourceOption) (pulumi.Resource, error), opts []pulumi.ResourceOption,
) (*Redis, error) {
	store := &Redis{endpoint: elsewhere(config), inCluster: config.Address == "", passwords: a.Passwords}
	if err := ctx.RegisterComponentResource(kind, name, store, opts...); err != nil {
		return nil, err
	}
	if store.inCluster {
		parent := pulumi.Parent(store)
		objects, err := server.newObjects(ctx, parent)
		if err != nil {
			return nil, err
		}
		service, err := a.newService(ctx, server.name, network.RedisPort, parent)
		if err != nil {
			return nil, err
		}
		running, err := run(service, template(server.name, server.pod(objects)), parent)
		if err != nil {
			return nil, err
		}
		users, err := server.newUsers(ctx, host, objects, parent, pulumi.DependsOn([]pulumi.Resource{running}))
		if err != nil {
			return nil, err
		}
		store.endpoint = Endpoint{Host: host, Port: network.RedisPort, Authority: a.Authority, Ready: []pulumi.Resource{users}}
	}
	return store, ctx.RegisterResourceOutputs(store, pulumi.Map{
		"host": pulumi.String(store.endpoint.Host),
		"port": pulumi.Int(store.endpoint.Port),
	})
}

// Endpoint is a service's endpoint of the store.
func (r *Redis) Endpoint(service catalog.Service) Endpoint {
	return r.passwords.endpoint(r.endpoint, r.inCluster, service)
}

// MonitorEndpoint is the endpoint of the exporter.
func (r *Redis) MonitorEndpoint() Endpoint {
	return r.passwords.as(r.endpoint, r.inCluster, monitor, r.passwords.Monitor)
}
