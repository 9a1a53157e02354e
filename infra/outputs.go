package main

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/edge"
	"platform.example/infra/namespace"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
	"platform.example/infra/workload"
)

//go:embed VERSION
var versionFile string

// Version is the platform's version, which CHANGELOG.md describes.
func Version() string { return strings.TrimSpace(versionFile) }

// demoEmail is the email of the demo user.
const demoEmail = "demo@platform.example"

// demoUser is nil if the stack has none.
func (p platform) demoUser() *workload.Demo {
	if !p.config.Demo {
		return nil
	}
	return &workload.Demo{Email: demoEmail, Password: p.secrets.Value(catalog.DemoUserPassword)}
}

// last is the part of the stack's last outputs that the program uses.
type last struct {
	cluster    string
	namespaces map[namespace.Name]string
	history    release.History
}

// namespacesOutput is the name of the stack output with the names of the namespaces.
const namespacesOutput = "namespaces"

func readLast(ctx *pulumi.Context) (last, error) {
	var outputs last
	self, err := pulumi.NewStackReference(ctx, fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), ctx.Stack()), nil)
	if err != nil {
		return outputs, fmt.Errorf("stack %s: read its last outputs: %w", ctx.Stack(), err)
	}
	for name, target := range map[string]any{
		cluster.Output: &outputs.cluster, namespacesOutput: &outputs.namespaces, release.HistoryOutput: &outputs.history,
	} {
		output, err := self.GetOutputDetails(name)
		if err == nil && output.Value != nil {
			err = release.Convert(output.Value, target)
		}
		if err != nil {
			return outputs, fmt.Errorf("stack %s: read its last output %s: %w", ctx.Stack(), name, err)
		}
	}
	return outputs, nil
}

// restore logs the differences from the last release. An update restores them before it changes anything else.
func (p platform) restore(ctx *pulumi.Context, here *cluster.Cluster, differences []release.Difference) error {
	if !ctx.DryRun() {
		if err := errors.Join(here.Restore(ctx.Context(), differences), here.KeepRestarts(ctx.Context())); err != nil {
			return fmt.Errorf("stack %s: %w", p.config.Name, err)
		}
	}
	for _, difference := range differences {
		action := ""
		switch {
		case difference.Field == "": // the object itself
			action = ": `make repair` restores it"
		case difference.Patch != nil && ctx.DryRun():
			action = ": `pulumi up` restores it"
		case difference.Patch != nil:
			action = ": restored"
		}
		_ = ctx.Log.Warn(difference.String()+action, nil) // fails only without an engine
	}
	return nil
}

// export exports the stack's outputs.
func (p platform) export(ctx *pulumi.Context, entry *edge.Edge, switched pulumi.ArrayOutput) {
	ctx.Export("version", pulumi.String(Version()))
	ctx.Export("url", entry.URL)
	ctx.Export("address", entry.Address)
	namespaces := pulumi.StringMap{}
	for _, name := range namespace.All() {
		namespaces[string(name)] = pulumi.String(p.config.NamespacePrefix.Of(name))
	}
	ctx.Export(namespacesOutput, namespaces)
	p.exportServices(ctx, switched)
	authority := ""
	if p.config.Environment == stack.Local {
		authority = p.secrets.Authority().Bundle // clients of other stacks trust the edge's certificate already
	}
	ctx.Export("certificateAuthority", pulumi.String(authority))
	ctx.Export(secret.Output, p.secrets.Versions())
	if demo := p.demoUser(); demo != nil {
		ctx.Export("demoEmail", pulumi.String(demo.Email))
		ctx.Export("demoPassword", demo.Password)
	}
}

// exportServices exports the live versions and the history once the services have switched. Other stacks promote these versions.
func (p platform) exportServices(ctx *pulumi.Context, switched pulumi.ArrayOutput) {
	references := pulumi.StringMap{}
	for name, plan := range p.plans {
		references[name] = plan.live().Reference
	}
	services := pulumi.All(references, switched).ApplyT(func(known []any) (map[string]stated, error) {
		return p.state(ctx, known[0].(map[string]string))
	})
	ctx.Export("services", services.ApplyT(plain))
	ctx.Export(release.HistoryOutput, services.ApplyT(func(services any) (any, error) {
		live := map[string]release.Deployed{}
		for service, state := range services.(map[string]stated) {
			live[service] = state.Deployed
		}
		return plain(p.last.history.Then(live, time.Now()).Passed(p.request.Tested))
	}))
}

// stated is a service in the outputs.
type stated struct {
	release.Deployed
	Colour  release.Colour `json:"colour"`
	Standby string         `json:"standby"`
}

// state returns the planned services in a preview, and their actual state after an update, which may exclude services (--target). It
// fails if the actual state differs from what was released; the last outputs then stay.
func (p platform) state(ctx *pulumi.Context, references map[string]string) (map[string]stated, error) {
	recorded, err := p.rollout.Recorded(ctx)
	if err != nil {
		return nil, err
	}
	for _, difference := range release.Drift(recorded) {
		if _, known := p.plans[difference.Service]; known && difference.Misleading() {
			return nil, fmt.Errorf("stack %s: its outputs weren't updated: %s: `make repair` restores it", p.config.Name, difference)
		}
	}
	services := map[string]stated{}
	for name, plan := range p.plans {
		colour, running := recorded[name].Live()
		switch {
		case recorded == nil:
			deployed := release.Deployed{Version: plan.Version, Image: references[name], Schema: plan.live().Schema}
			services[name] = stated{deployed, plan.Live, plan.Mark.Standby.Version}
		case colour != "":
			deployed := release.Deployed{Version: running.Version, Image: running.Image, Schema: running.Schema}
			services[name] = stated{deployed, colour, recorded[name].Mark.Standby.Version}
		}
	}
	return services, nil
}

// plain converts a value for Pulumi: to lists and maps of strings and numbers.
func plain(value any) (any, error) {
	var result any
	err := release.Convert(value, &result)
	return result, err
}
