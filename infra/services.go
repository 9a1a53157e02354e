package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/image"
	"platform.example/infra/isolation"
	"platform.example/infra/namespace"
	"platform.example/infra/release"
	"platform.example/infra/workload"
)

// planned is the plan of a service and the images of its colours.
type planned struct {
	release.Plan
	images map[release.Colour]image.Image
}

// live is the live image after the plan.
func (p planned) live() image.Image { return p.images[p.Live] }

// plan plans all services from their actual state and the request. Images are built from the sources or promoted.
func (p platform) plan(ctx context.Context, recorded map[string]release.Recorded, images map[string]image.Image, now time.Time) (map[string]planned, error) {
	plans := map[string]planned{}
	for _, service := range p.services {
		name := service.Name
		wish := p.request.Wish(name, images[name].Version)
		if p.request.Tested != "" && p.config.Build && wish.Pinned != wish.Source {
			return nil, fmt.Errorf("stack %s: %s runs version %s, but the sources have version %s: release and test commit %s again",
				p.config.Name, name, cmp.Or(wish.Pinned, "none"), wish.Source, p.request.Tested)
		}
		plan, err := release.New(name, recorded[name], wish, p.config.Standby, now)
		if err != nil {
			return nil, fmt.Errorf("stack %s: %w", p.config.Name, err)
		}
		runs := map[release.Colour]image.Image{}
		for colour, running := range recorded[name].Restored().Colours {
			runs[colour] = image.Of(release.Deployed{Version: running.Version, Image: running.Image, Schema: running.Schema})
		}
		switch {
		case runs[plan.Live].Version == plan.Version: // keep the digest: a rebuilt image has another one
			if kept := runs[plan.Live]; plan.Version == images[name].Version {
				kept.Schema = images[name].Schema
				runs[plan.Live] = kept
			}
		case plan.Version == images[name].Version:
			runs[plan.Live] = images[name]
		case plan.Move == release.Release, plan.Move == release.Start:
			runs[plan.Live] = image.Of(p.request.Services[name])
		}
		if known := runs[plan.Live].Known; known != "" && (plan.Move == release.Release || plan.Move == release.Start) {
			if err := image.Verify(ctx, p.config.Signature, known); err != nil {
				return nil, fmt.Errorf("stack %s: service %s: %w", p.config.Name, name, err)
			}
		}
		plans[name] = planned{plan, runs}
	}
	return plans, nil
}

// registries returns the registries that namespace apps admits: for new images, for images of running versions, and from the settings.
func (p platform) registries() []string {
	found := slices.Clone(p.config.Cluster.AdmittedRegistries)
	if p.config.Build {
		found = append(found, p.config.Registry)
	}
	for _, plan := range p.plans {
		for _, runs := range plan.images {
			found = append(found, runs.Registry)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// newServices creates all services of the catalog, switches them together and returns the public one.
func (p platform) newServices(
	ctx *pulumi.Context, namespaces map[namespace.Name]*isolation.Namespace, stores stores, opts ...pulumi.ResourceOption,
) (public *workload.Service, switched pulumi.ArrayOutput, err error) {
	var services []*workload.Service
	for _, service := range p.services {
		plan := p.plans[service.Name]
		p.logPlan(ctx, service, plan)
		created, err := workload.New(ctx, workload.Args{
			Namespace: namespaces[namespace.Apps],
			Rollout:   p.rollout,
			Config:    p.config,
			Profile:   p.profile,
			Service:   service,
			Plan:      plan.Plan,
			Images:    plan.images,
			Postgres:  stores.postgres.Endpoint(service),
			Cache:     stores.cache.Endpoint(service),
			Stream:    stores.stream.Endpoint(service),
			Secrets:   p.secrets,
			Demo:      p.demoUser(),
		}, opts...)
		if err != nil {
			return nil, switched, err
		}
		services = append(services, created)
		if service.Public {
			public = created
		}
	}
	switched, at, err := workload.Switch(ctx, p.rollout, services)
	if err != nil {
		return nil, switched, err
	}
	return public, switched, workload.Retire(ctx, p.plans[catalog.Public(p.services).Name].live(), services, switched, at, opts...)
}

// logPlan logs the plan of a service.
func (p platform) logPlan(ctx *pulumi.Context, service catalog.Service, plan planned) {
	plan.live().Reference.ApplyT(func(reference string) string {
		if sentence := plan.Sentence(service.Name, reference, p.config.Standby); sentence != "" && plan.Move != release.Start {
			_ = ctx.Log.Info(sentence, nil) // fails only without an engine
		}
		return reference
	})
}
