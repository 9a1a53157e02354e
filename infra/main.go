// Command infra is the platform's Pulumi program.
package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/edge"
	"platform.example/infra/image"
	"platform.example/infra/isolation"
	"platform.example/infra/kube"
	"platform.example/infra/monitoring"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/objectref"
	"platform.example/infra/profile"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
	"platform.example/infra/workload"
)

func main() {
	if len(os.Args) > 1 { // pulumi passes no arguments
		if err := command(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "infra:", err)
			os.Exit(1)
		}
		return
	}
	var info pulumi.RunInfo
	lock := &cluster.Lock{}
	pulumi.Run(func(ctx *pulumi.Context) error {
		err := run(ctx, info, lock, (*cluster.Cluster).NewRollout)
		if err != nil {
			lock.Release()
		}
		return err
	}, func(given *pulumi.RunInfo) { info = *given })
	lock.Release()
}

// newRollout creates a Rollout. Tests replace it, since Pulumi's mocks have no hooks.
type newRollout func(*cluster.Cluster, *pulumi.Context, time.Duration) (cluster.Rollout, error)

// run checks everything before the first resource, and then creates the platform.
func run(ctx *pulumi.Context, info pulumi.RunInfo, lock *cluster.Lock, newRollout newRollout) error {
	root, err := projectRoot()
	if err != nil {
		return err
	}
	p := platform{services: catalog.Services()}
	if p.config, p.secrets, err = load(ctx.Stack(), info, p.services); err != nil {
		return err
	}
	p.target = cluster.Target{
		Kubeconfig: within(root, p.config.Kubeconfig), Context: p.config.KubeContext, Namespaces: p.config.NamespacePrefix,
	}
	if p.request, err = release.ReadRequest(os.Getenv(release.RequestVariable)); err != nil {
		return err
	}
	if p.last, err = readLast(ctx); err != nil {
		return err
	}
	here, err := p.target.Connect(ctx.Context())
	if err != nil {
		return fmt.Errorf("stack %s: %w", ctx.Stack(), err)
	}
	if err := here.Own(ctx, p.last.cluster); err != nil {
		return err
	}
	if p.profile, err = profile.New(p.config, here.Discover(ctx.Context(), p.config.Cluster.NodeSelector)); err != nil {
		return err
	}
	if p.config.Postgres.Address == "" {
		if p.profile.Definitions, p.profile.Operator, err = here.Operator(ctx.Context(), ctx.Stack()); err != nil {
			return fmt.Errorf("stack %s: %w", ctx.Stack(), err)
		}
	}
	if err := p.unclaimed(ctx, here); err != nil {
		return fmt.Errorf("stack %s: %w", ctx.Stack(), err)
	}
	if err := take(ctx, lock, here, p.request.Holder); err != nil {
		return fmt.Errorf("stack %s: %w", ctx.Stack(), err)
	}
	if p.rollout, err = newRollout(here, ctx, p.config.Deadline); err != nil {
		return err
	}
	if p.certificates, err = p.newCertificates(ctx.Context(), here); err != nil {
		return fmt.Errorf("stack %s: %w", ctx.Stack(), err)
	}
	recorded, err := here.Recorded(ctx.Context())
	if err != nil {
		return fmt.Errorf("stack %s: %w", ctx.Stack(), err)
	}
	maps.DeleteFunc(recorded, func(name string, _ release.Recorded) bool {
		return !slices.ContainsFunc(p.services, func(service catalog.Service) bool { return service.Name == name })
	})
	p.address = recorded[catalog.Public(p.services).Name].Address
	images, err := image.ForServices(ctx, p.config, p.services, p.profile.Architectures, root, p.request.Commit, Version())
	if err != nil {
		return err
	}
	if p.plans, err = p.plan(ctx.Context(), recorded, images, time.Now()); err != nil {
		return err
	}
	if err := p.restore(ctx, here, release.Drift(recorded)); err != nil {
		return err
	}
	p.former, err = here.Owns(ctx.Context(), ctx.Stack(), objectref.Ref{
		APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: p.config.NamespacePrefix.Of(namespace.Data), Name: network.Postgres,
	})
	if err != nil {
		return fmt.Errorf("stack %s: %w", ctx.Stack(), err)
	}
	if err := p.grow(ctx, here); err != nil {
		return fmt.Errorf("stack %s: %w", ctx.Stack(), err)
	}
	// Pulumi also stores the outputs of an update that fails: an earlier export would let the next update skip the check of a first one.
	ctx.Export(cluster.Output, pulumi.String(here.ID()))
	return p.build(ctx)
}

// platform is the program's state before the first resource.
type platform struct {
	config       stack.Stack
	profile      profile.Profile
	services     []catalog.Service
	secrets      secret.Secrets
	certificates map[string]secret.Certificate // by server
	target       cluster.Target
	rollout      cluster.Rollout
	request      release.Request
	address      string // ClusterIP of the public service; empty before its first update
	last         last
	plans        map[string]planned // by service
	former       bool               // Postgres runs as earlier versions of the platform ran it, without the operator
}

// build creates all resources.
func (p platform) build(ctx *pulumi.Context) error {
	if err := kube.Own(ctx, p.rollout); err != nil {
		return err
	}
	provider, err := kube.NewProvider(ctx, p.target)
	if err != nil {
		return err
	}
	onCluster := pulumi.Providers(provider)

	var admission []pulumi.Resource // a release from another registry waits until it admits both
	if p.profile.Admission {
		images, err := isolation.NewAdmission(ctx, p.config.NamespacePrefix, p.registries(), pulumi.Provider(provider))
		if err != nil {
			return fmt.Errorf("admission of images: %w", err)
		}
		admission = append(admission, images)
	}
	namespaces := map[namespace.Name]*isolation.Namespace{}
	for _, name := range namespace.All() {
		protect := p.config.ProtectData && name == namespace.Data
		namespaces[name], err = isolation.NewNamespace(ctx, name, p.config.NamespacePrefix, protect, pulumi.Provider(provider), pulumi.DependsOn(admission))
		if err != nil {
			return err
		}
	}
	policies := network.Policies(p.config, p.profile, p.services)
	if err := network.Distinct(policies); err != nil {
		return err
	}
	if err := isolation.NewPolicies(ctx, namespaces, p.config.NamespacePrefix, p.profile, policies, pulumi.Provider(provider)); err != nil {
		return err
	}

	stores, err := p.newStores(ctx, namespaces, p.certificates, onCluster)
	if err != nil {
		return err
	}

	gateway, switched, err := p.newServices(ctx, namespaces, stores, onCluster)
	if err != nil {
		return err
	}

	err = workload.Renew(ctx, workload.RenewArgs{
		Namespace:    namespaces[namespace.Data],
		Priority:     namespaces[namespace.Apps].Priority,
		Config:       p.config,
		Profile:      p.profile,
		Image:        gateway.LiveImage(),
		Authority:    p.secrets.Authority().Pairs(),
		Certificates: p.renewed(namespaces),
	}, onCluster)
	if err != nil {
		return err
	}

	public := catalog.Public(p.services)
	entry, err := edge.New(ctx, edge.Args{
		Namespace:   namespaces[namespace.Edge],
		Rollout:     p.rollout,
		Config:      p.config,
		Profile:     p.profile,
		Image:       p.upstream("traefik"),
		Upstream:    workload.URL(p.config.NamespacePrefix, public.Name),
		Address:     gateway.Address(p.address),
		Origins:     p.config.Services[public.Name].Origins(),
		Certificate: p.certificates[network.Edge],
	}, onCluster)
	if err != nil {
		return err
	}
	err = monitoring.New(ctx, monitoring.Args{
		Namespaces: namespaces,
		Rollout:    p.rollout,
		Config:     p.config,
		Profile:    p.profile,
		Services:   p.services,
		Secrets:    p.secrets,
		Postgres:   stores.postgres.MonitorEndpoint(),
		Cache:      stores.cache.MonitorEndpoint(),
		Stream:     stores.stream.MonitorEndpoint(),
	}, onCluster)
	if err != nil {
		return err
	}
	p.export(ctx, entry, switched)
	return nil
}

// unclaimed returns an error if the update would take over objects of another owner, or change the stack's namespaces. A first update
// checks the names of all objects that it would create.
func (p platform) unclaimed(ctx *pulumi.Context, here *cluster.Cluster) error {
	if p.last.cluster != "" {
		recorded := cmp.Or(p.last.namespaces[namespace.Apps], string(namespace.Apps)) // versions without prefixes had no such output
		if now := p.config.NamespacePrefix.Of(namespace.Apps); recorded != now {
			return fmt.Errorf("platform:namespacePrefix: the stack runs in namespace %s; namespace %s would be a new one without its data: "+
				"restore the prefix, or destroy the stack first", recorded, now)
		}
		return nil
	}
	manifests, err := p.objects(ctx.Stack())
	if err != nil {
		return err
	}
	var objects []objectref.Ref
	for _, manifest := range manifests {
		if object := objectref.Of(manifest); !strings.HasSuffix(object.Name, generated) {
			objects = append(objects, object)
		}
	}
	return here.Free(ctx.Context(), ctx.Stack(), objects)
}
