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

// appendFolder holds the append-only file.
const appendFolder = "/var/lib/redis"

// Stream is a Redis that keeps what it is told: it evicts nothing, refuses what doesn't fit, and appends every write to
// a file that reaches the disk each second. What the last second held is told again by who published it.
type Stream struct {
	pulumi.ResourceState
	endpoint  Endpoint
	inCluster bool
	passwords RedisPasswords
}

// StreamArgs describes the stream.
type StreamArgs struct {
	Common
	Config      stack.Stack
	Services    []catalog.Service
	Image       string
	Certificate secret.Certificate
	Passwords   RedisPasswords
}

// NewStream makes the stream, unless it is elsewhere.
func NewStream(ctx *pulumi.Context, name string, args StreamArgs, opts ...pulumi.ResourceOption) (*Stream, error) {
	stream := &Stream{inCluster: args.Config.Stream.Address == "", passwords: args.Passwords}
	if err := ctx.RegisterComponentResource("platform:data:Stream", name, stream, opts...); err != nil {
		return nil, err
	}
	stream.endpoint = elsewhere(args.Config.Stream.Store)
	if stream.inCluster {
		var err error
		if stream.endpoint, err = args.newServer(ctx, pulumi.Parent(stream)); err != nil {
			return nil, err
		}
	}
	return stream, ctx.RegisterResourceOutputs(stream, pulumi.Map{
		"host": pulumi.String(stream.endpoint.Host),
		"port": pulumi.Int(stream.endpoint.Port),
	})
}

func (a StreamArgs) newServer(ctx *pulumi.Context, parent pulumi.ResourceOption) (Endpoint, error) {
	const name = network.Stream
	memory := a.Config.Stream.Memory
	server := redisServer{
		Common: a.Common, name: name, image: a.Image, certificate: a.Certificate,
		users: a.Passwords.users(a.Services, func(s catalog.Service) *catalog.Access { return s.Stream }),
		config: fmt.Sprintf("maxmemory %dmb\nmaxmemory-policy noeviction\nappendonly yes\nappendfsync everysec\ndir %s\n",
			int(memory), appendFolder),
		// Half as much again for what changes while the file is rewritten by a fork, and a part that does not grow.
		memory: memory*3/2 + 32*quantity.MiB,
		starts: 300, // reads the whole file
		data:   appendFolder,
	}
	objects, err := server.newObjects(ctx, parent)
	if err != nil {
		return Endpoint{}, err
	}
	service, err := a.newService(ctx, name, network.RedisPort, parent)
	if err != nil {
		return Endpoint{}, err
	}
	running, err := appsv1.NewStatefulSet(ctx, name, &appsv1.StatefulSetArgs{
		Metadata: a.named(name),
		Spec: appsv1.StatefulSetSpecArgs{
			Replicas:    pulumi.Int(1),
			ServiceName: service.Metadata.Name().Elem(),
			Selector:    metav1.LabelSelectorArgs{MatchLabels: labels(name)},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: podLabels(name)},
				Spec:     server.pod(objects),
			},
			VolumeClaimTemplates:                 dataVolume(a.Config, a.Config.Stream.VolumeSize),
			PersistentVolumeClaimRetentionPolicy: retainVolumes(),
		},
	}, append(a.Rollout.Options(), parent, pulumi.Protect(a.Config.ProtectData), cluster.ClaimTemplatesStay())...)
	if err != nil {
		return Endpoint{}, err
	}
	users, err := server.newUsers(ctx, catalog.StreamHost(a.Prefix), objects, parent, pulumi.DependsOn([]pulumi.Resource{running}))
	if err != nil {
		return Endpoint{}, err
	}
	return Endpoint{
		Host: catalog.StreamHost(a.Prefix), Port: network.RedisPort, Authority: a.Authority, Ready: []pulumi.Resource{users},
	}, nil
}

// Endpoint is how a service reaches the stream.
func (s *Stream) Endpoint(service catalog.Service) Endpoint {
	return s.passwords.endpoint(s.endpoint, s.inCluster, service)
}

// MonitorEndpoint is how an exporter reaches its statistics.
func (s *Stream) MonitorEndpoint() Endpoint {
	return s.passwords.as(s.endpoint, s.inCluster, monitor, s.passwords.Monitor)
}
