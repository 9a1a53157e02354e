package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/edge"
	"platform.example/infra/image"
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

// outputs is what the stack tells people and other stacks.
type outputs struct {
	services pulumi.Map
}

func (o outputs) add(service catalog.Service, colour release.Colour, image image.Image) {
	fields := pulumi.Map{"colour": pulumi.String(colour)}
	for name, value := range image.Outputs() {
		fields[name] = value
	}
	o.services[service.Name] = fields
}

func (o outputs) export(ctx *pulumi.Context, entry *edge.Edge, p platform) {
	ctx.Export("url", entry.URL)
	ctx.Export(image.Output, o.services)
	authority := ""
	if p.config.Name == stack.Local {
		authority = p.secrets.Authority().Bundle // elsewhere, clients trust the edge's certificate already
	}
	ctx.Export("certificateAuthority", pulumi.String(authority))
	ctx.Export(secret.Output, p.secrets.Versions())
	if demo := p.demoUser(); demo != nil {
		ctx.Export("demoEmail", pulumi.String(demo.Email))
		ctx.Export("demoPassword", demo.Password)
	}
}
