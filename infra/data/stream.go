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

// appendFolder holds the append-only file.
const appendFolder = "/var/lib/redis"

// Stream is a Redis that keeps what it is told: it evicts nothing, refuses what doesn't fit, and appends every write to
// a file that reaches the disk each second. What the last second held is told again by who published it.
type Stream struct {
	pulumi.ResourceState
	endpoint Endpoint
}

// StreamArgs describes the stream.
type StreamArgs struct {
	Namespace *corev1.Namespace
	Config    stack.Stack
	Image     string
	Password  pulumi.StringOutput
}

// NewStream makes the stream.
func NewStream(ctx *pulumi.Context, name string, args StreamArgs, opts ...pulumi.ResourceOption) (*Stream, error) {
	stream := &Stream{}
	if err := ctx.RegisterComponentResource("platform:data:Stream", name, stream, opts...); err != nil {
		return nil, err
	}
	memory := args.Config.Stream.Memory
	server := redisServer{
		name: name, namespace: args.Namespace, image: args.Image, password: args.Password,
		config: fmt.Sprintf("maxmemory %dmb\nmaxmemory-policy noeviction\nappendonly yes\nappendfsync everysec\ndir %s\n",
			int(memory), appendFolder),
		// Half as much again for what changes while the file is rewritten by a fork, and a part that does not grow.
		memory: memory*3/2 + 32*quantity.MiB,
		starts: 300, // reads the whole file
		data:   appendFolder,
	}
	stream.endpoint = server.endpoint(stream)
	parent := pulumi.Parent(stream)
	config, err := server.newConfig(ctx, parent)
	if err != nil {
		return nil, err
	}
	service, err := newStoreService(ctx, name, args.Namespace, redisPort, parent)
	if err != nil {
		return nil, err
	}
	_, err = appsv1.NewStatefulSet(ctx, name, &appsv1.StatefulSetArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name:      pulumi.String(name),
			Namespace: args.Namespace.Metadata.Name(),
			Labels:    labels(name),
		},
		Spec: appsv1.StatefulSetSpecArgs{
			Replicas:    pulumi.Int(1),
			ServiceName: service.Metadata.Name().Elem(),
			Selector:    metav1.LabelSelectorArgs{MatchLabels: labels(name)},
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: labels(name)},
				Spec:     server.pod(config),
			},
			VolumeClaimTemplates:                 corev1.PersistentVolumeClaimTypeArray{dataVolume(args.Config, args.Config.Stream.VolumeSize)},
			PersistentVolumeClaimRetentionPolicy: retainVolumes(),
		},
	}, parent, storeTimeouts(), protected(args.Config))
	if err != nil {
		return nil, err
	}
	return stream, ctx.RegisterResourceOutputs(stream, pulumi.Map{
		"host": pulumi.String(stream.endpoint.Host),
		"port": pulumi.Int(stream.endpoint.Port),
	})
}

// Endpoint is how every service reaches the stream.
func (s *Stream) Endpoint() Endpoint { return s.endpoint }
