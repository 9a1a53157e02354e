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

// exportServices tells what is live, and what was. It is told once it is so: other stacks take it for what was tested.
func (p platform) exportServices(ctx *pulumi.Context, switched pulumi.ArrayOutput) {
	services, references := pulumi.Map{}, pulumi.StringMap{}
	for _, service := range p.services {
		plan := p.plans[service.Name]
		fields := pulumi.Map{"colour": pulumi.String(plan.Live), "standby": pulumi.String(plan.Mark.Standby.Version)}
		for name, value := range plan.live().Outputs() {
			fields[name] = value
		}
		services[service.Name] = fields
		references[service.Name] = plan.live().Reference
	}
	ctx.Export(image.Output, pulumi.All(services, switched).ApplyT(func(known []any) any { return known[0] }))
	ctx.Export(release.HistoryOutput, pulumi.All(references, switched).ApplyT(func(known []any) (any, error) {
		live := map[string]release.Deployed{}
		for service, reference := range known[0].(map[string]string) {
			live[service] = release.Deployed{Version: p.plans[service].Version, Image: reference}
		}
		return plain(p.last.history.Then(live, time.Now()))
	}))
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
