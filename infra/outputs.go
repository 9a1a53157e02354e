package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/edge"
	"platform.example/infra/image"
	"platform.example/infra/namespace"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
	"platform.example/infra/workload"
)

// demoEmail is how the demo user signs in.
const demoEmail = "demo@platform.example"

// demoUser is nil where the stack has none.
func (p platform) demoUser() *workload.Demo {
	if !p.config.Demo {
		return nil
	}
	return &workload.Demo{Email: demoEmail, Password: p.secrets.Value(catalog.DemoUserPassword)}
}

// last is the stack's last outputs, as far as the program reads them.
type last struct {
	cluster    string
	namespaces map[namespace.Name]string
	history    release.History
}

// namespacesOutput is the name of the stack output that records the names of the namespaces.
const namespacesOutput = "namespaces"

func readLast(ctx *pulumi.Context) (last, error) {
	var read last
	self, err := pulumi.NewStackReference(ctx, fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), ctx.Stack()), nil)
	if err != nil {
		return read, fmt.Errorf("stack %s: read its own last outputs: %w", ctx.Stack(), err)
	}
	for name, into := range map[string]any{cluster.Output: &read.cluster, namespacesOutput: &read.namespaces, release.HistoryOutput: &read.history} {
		output, err := self.GetOutputDetails(name)
		if err != nil {
			return read, fmt.Errorf("stack %s: read its own last output %s: %w", ctx.Stack(), name, err)
		}
		if output.Value == nil {
			continue
		}
		text, err := json.Marshal(output.Value)
		if err != nil {
			return read, fmt.Errorf("stack %s: read its own last output %s: %w", ctx.Stack(), name, err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			return read, fmt.Errorf("stack %s: its own last output %s is not what this program writes: %w", ctx.Stack(), name, err)
		}
	}
	return read, nil
}

// restore reports what differs from the last release. An update restores it before it changes anything else.
func (p platform) restore(ctx *pulumi.Context, here *cluster.Cluster, differences []release.Difference) error {
	if !ctx.DryRun() {
		if err := here.Restore(ctx.Context(), differences); err != nil {
			return fmt.Errorf("stack %s: %w", p.config.Name, err)
		}
	}
	for _, difference := range differences {
		what := ""
		switch {
		case difference.Field == "": // the object itself
			what = ": `make repair` restores it"
		case difference.Patch != nil && ctx.DryRun():
			what = ": `pulumi up` restores it"
		case difference.Patch != nil:
			what = ": restored"
		}
		_ = ctx.Log.Warn(difference.String()+what, nil) // if that fails, the engine is gone
	}
	return nil
}

// export is what the stack tells people and other stacks.
func (p platform) export(ctx *pulumi.Context, entry *edge.Edge, switched pulumi.ArrayOutput) {
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
		authority = p.secrets.Authority().Bundle // elsewhere, clients trust the edge's certificate already
	}
	ctx.Export("certificateAuthority", pulumi.String(authority))
	ctx.Export(secret.Output, p.secrets.Versions())
	if demo := p.demoUser(); demo != nil {
		ctx.Export("demoEmail", pulumi.String(demo.Email))
		ctx.Export("demoPassword", demo.Password)
	}
}

// exportServices states what is live, and what was, once it is so: other stacks take it for what was tested.
func (p platform) exportServices(ctx *pulumi.Context, switched pulumi.ArrayOutput) {
	references := pulumi.StringMap{}
	for name, plan := range p.plans {
		references[name] = plan.live().Reference
	}
	services := pulumi.All(references, switched).ApplyT(func(known []any) (map[string]stated, error) {
		return p.state(ctx, known[0].(map[string]string))
	})
	ctx.Export(image.Output, services.ApplyT(plain))
	ctx.Export(release.HistoryOutput, services.ApplyT(func(services any) (any, error) {
		live := map[string]release.Deployed{}
		for service, is := range services.(map[string]stated) {
			live[service] = release.Deployed{Version: is.Version, Image: is.Digest}
		}
		return plain(p.last.history.Then(live, time.Now()))
	}))
}

// stated is what the outputs say of a service.
type stated struct {
	image.Stated
	Colour  release.Colour `json:"colour"`
	Standby string         `json:"standby"`
}

// state is what a preview plans, and, after an update, what the cluster says: an update may have left services out. It is an
// error where that isn't what was released; the last outputs stay.
func (p platform) state(ctx *pulumi.Context, references map[string]string) (map[string]stated, error) {
	services := map[string]stated{}
	recorded, err := p.rollout.Recorded(ctx)
	if err != nil {
		return nil, err
	}
	if recorded == nil {
		for name, plan := range p.plans {
			services[name] = stated{image.Stated{Version: plan.Version, Digest: references[name]}, plan.Live, plan.Mark.Standby.Version}
		}
		return services, nil
	}
	for _, difference := range release.Drift(recorded) {
		if _, ours := p.plans[difference.Service]; ours && difference.Misleading() {
			return nil, fmt.Errorf("stack %s: its outputs stay as they were: %s: `make repair` restores it", p.config.Name, difference)
		}
	}
	for name, is := range recorded {
		if _, ours := p.plans[name]; ours && is.Selected != "" {
			colour, running := is.Live()
			services[name] = stated{image.Stated{Version: running.Version, Digest: running.Image}, colour, is.Mark.Standby.Version}
		}
	}
	return services, nil
}

// plain is a value as Pulumi keeps it: lists and objects of texts and numbers.
func plain(value any) (any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var read any
	return read, json.Unmarshal(text, &read)
}
