// Package workload runs a service of the catalog on Kubernetes, in one or two colours behind the live Service.
package workload

import (
	"fmt"
	"maps"
	"slices"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/data"
	"platform.example/infra/image"
	"platform.example/infra/isolation"
	"platform.example/infra/kube"
	"platform.example/infra/profile"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// Service is a service in the colours of its plan.
type Service struct {
	pulumi.ResourceState

	args        Args
	colour      colour                    // the live one after the plan
	environment corev1.EnvFromSourceArray // of colour
	completed   pulumi.StringOutput       // resolves once the rollout of colour is complete
	live        *corev1.Service           // nil before Switch
	image       pulumi.StringOutput       // that live selects; unset before Switch
}

// Args describes a service. The endpoints of stores that it doesn't use are zero.
type Args struct {
	Namespace *isolation.Namespace
	Rollout   cluster.Rollout
	Config    stack.Stack
	Profile   profile.Profile
	Service   catalog.Service
	Plan      release.Plan
	Images    map[release.Colour]image.Image // of the plan's colours
	Postgres  data.Endpoint
	Cache     data.Endpoint
	Stream    data.Endpoint
	Secrets   secret.Secrets
	Demo      *Demo // nil without a demo user
}

// Demo is the demo user.
type Demo struct {
	Email    string
	Password pulumi.StringOutput
}

// New creates the service in the colours of its plan. Switch creates its live Service.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Service, error) {
	service := &Service{args: args}
	if err := ctx.RegisterComponentResource("platform:workload:Service", args.Service.Name, service, opts...); err != nil {
		return nil, err
	}
	if err := service.build(ctx); err != nil {
		return nil, fmt.Errorf("service %s: %w", args.Service.Name, err)
	}
	return service, nil
}

func (s *Service) build(ctx *pulumi.Context) error {
	parent := pulumi.Parent(s)
	account, err := kube.NewAccount(ctx, s.args.Service.Name, s.args.metadata(s.args.Service.Name, s.args.labels()), parent)
	if err != nil {
		return err
	}
	migrations := map[string]pulumi.Resource{}
	for _, name := range slices.Sorted(slices.Values(s.args.Plan.Colours)) {
		c := colour{s.args, name, account}
		environment, completed, err := c.build(ctx, migrations, parent)
		if err != nil {
			return err
		}
		if name == s.args.Plan.Live {
			s.colour, s.environment, s.completed = c, environment, completed
		}
	}
	return nil
}

// metadata is the metadata of an object. Pulumi generates an empty name, so that changed content creates a new object. With a name,
// the update takes over an existing object: a killed run may have created it, and a rollback changes it as another field manager.
func (a Args) metadata(name string, labels pulumi.StringMap, annotations ...pulumi.StringMap) metav1.ObjectMetaArgs {
	metadata := metav1.ObjectMetaArgs{Namespace: a.Namespace.Name, Labels: labels}
	if name == "" {
		return metadata
	}
	all := pulumi.StringMap{"pulumi.com/patchForce": pulumi.String("true")}
	for _, more := range annotations {
		maps.Copy(all, more)
	}
	metadata.Name, metadata.Annotations = pulumi.String(name), all
	return metadata
}

// labels are the labels of objects that belong to all colours.
func (a Args) labels() pulumi.StringMap { return kube.Labels(a.Service.Name) }
