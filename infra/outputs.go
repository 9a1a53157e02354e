package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/image"
	"platform.example/infra/release"
	"platform.example/infra/stack"
	"platform.example/infra/workload"
)

// demoEmail is how the demo user signs in.
const demoEmail = "demo@platform.example"

// demoUser is nil where the stack has none.
func demoUser(config stack.Stack, secrets map[string]pulumi.StringOutput) *workload.Demo {
	if !config.Demo {
		return nil
	}
	return &workload.Demo{Email: demoEmail, Password: secrets[catalog.DemoUserPassword]}
}

// outputs is what the stack tells people and other stacks.
type outputs struct {
	gatewayURL pulumi.StringOutput
	services   pulumi.Map
}

func (o *outputs) add(service catalog.Service, colour release.Colour, image image.Image, running *workload.Service) {
	fields := pulumi.Map{"colour": pulumi.String(colour)}
	for name, value := range image.Outputs() {
		fields[name] = value
	}
	o.services[service.Name] = fields
	if service.Public {
		o.gatewayURL = running.URL
	}
}

func (o *outputs) export(ctx *pulumi.Context, demo *workload.Demo) {
	ctx.Export("gatewayUrl", o.gatewayURL)
	ctx.Export(image.Output, o.services)
	if demo != nil {
		ctx.Export("demoEmail", pulumi.String(demo.Email))
		ctx.Export("demoPassword", demo.Password)
	}
}
