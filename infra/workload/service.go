// Package workload runs a service of the catalog on Kubernetes.
package workload

import (
	"fmt"
	"maps"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/data"
	"platform.example/infra/image"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// Service is a service in one colour, with the live Service in front.
type Service struct {
	pulumi.ResourceState
}

// Args describes a service. The stores matter only to a service that uses them.
type Args struct {
	Namespace *namespace.Namespace
	Rollout   cluster.Rollout
	Config    stack.Stack
	Service   catalog.Service
	Colour    release.Colour
	Image     image.Image
	Postgres  data.Endpoint
	Cache     data.Endpoint
	Stream    data.Endpoint
	Secrets   secret.Secrets
	Demo      *Demo // nil where there is no demo user
}

// Demo is the user that a service which seeds one is asked to make.
type Demo struct {
	Email    string
	Password pulumi.StringOutput
}

// New runs the service: the schema first, then the replicas, each step only after the one before has succeeded.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Service, error) {
	service := &Service{}
	if err := ctx.RegisterComponentResource("platform:workload:Service", args.Service.Name, service, opts...); err != nil {
		return nil, err
	}
	deployment, err := args.build(ctx, pulumi.Parent(service))
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", args.Service.Name, err)
	}
	return service, ctx.RegisterResourceOutputs(service, pulumi.Map{
		"version":    pulumi.String(args.Image.Version),
		"colour":     pulumi.String(args.Colour),
		"deployment": deployment,
	})
}

// build makes what the service consists of, and returns its Deployment's name once its rollout is complete.
func (a Args) build(ctx *pulumi.Context, parent pulumi.ResourceOption) (completed pulumi.StringOutput, err error) {
	account, err := a.newServiceAccount(ctx, parent)
	if err != nil {
		return completed, err
	}
	environment, err := a.newEnvironment(ctx, parent)
	if err != nil {
		return completed, err
	}
	ready := a.stores()
	if a.Service.Database != "" {
		migration, err := a.newJob(ctx, "migrate", account, environment, parent, pulumi.DependsOn(ready))
		if err != nil {
			return completed, err
		}
		ready = append(ready, migration)
	}
	if a.Service.SeedsDemo && a.Demo != nil {
		if err := a.newDemoUser(ctx, account, environment, parent, pulumi.DependsOn(ready)); err != nil {
			return completed, err
		}
	}
	if completed, err = a.newDeployment(ctx, account, environment, parent, pulumi.DependsOn(ready)); err != nil {
		return completed, err
	}
	return completed, a.newServices(ctx, parent)
}

// stores is what must be there before the first process of the service starts.
func (a Args) stores() []pulumi.Resource {
	var stores []pulumi.Resource
	if a.Service.Database != "" {
		stores = append(stores, a.Postgres.Ready...)
	}
	if a.Service.Cache != nil {
		stores = append(stores, a.Cache.Ready...)
	}
	if a.Service.Stream != nil {
		stores = append(stores, a.Stream.Ready...)
	}
	return stores
}

func (a Args) newServiceAccount(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (*corev1.ServiceAccount, error) {
	return corev1.NewServiceAccount(ctx, a.Service.Name, &corev1.ServiceAccountArgs{
		Metadata:                     a.metadata(a.Service.Name, a.labels()),
		AutomountServiceAccountToken: pulumi.Bool(false),
	}, opts...)
}

// name is what the resources of this colour are called.
func (a Args) name() string { return a.Colour.Name(a.Service.Name) }

// metadata names an object; an empty name is left to Pulumi, so that changed content is a new object.
func (a Args) metadata(name string, labels pulumi.StringMap) metav1.ObjectMetaArgs {
	metadata := metav1.ObjectMetaArgs{Namespace: a.Namespace.Name, Labels: labels}
	if name != "" {
		metadata.Name = pulumi.String(name)
	}
	return metadata
}

// labels are those of what belongs to the service in every colour.
func (a Args) labels() pulumi.StringMap {
	return pulumi.StringMap{"app.kubernetes.io/name": pulumi.String(a.Service.Name)}
}

// colourSelector finds the pods of this colour. A Deployment's selector can't change, hence it says nothing else.
func (a Args) colourSelector() pulumi.StringMap {
	return pulumi.StringMap{
		"app.kubernetes.io/name": pulumi.String(a.Service.Name),
		"colour":                 pulumi.String(a.Colour),
	}
}

// podLabels adds to whom the pods belong: those of a server and of a Job alike.
func (a Args) podLabels(labels pulumi.StringMap) pulumi.StringMap {
	all := maps.Clone(labels)
	all[network.Label] = pulumi.String(a.Service.Name)
	return all
}
