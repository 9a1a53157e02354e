package image

import (
	"fmt"
	"regexp"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/stack"
)

// Output is the name of the stack output that holds, for each service, what Outputs makes of its image.
const Output = "services"

const (
	outputVersion = "version"
	outputDigest  = "digest"
)

// Outputs is how a stack tells what it runs; fromStaging reads it.
func (i Image) Outputs() pulumi.StringMap {
	return pulumi.StringMap{outputVersion: pulumi.String(i.Version), outputDigest: i.Reference}
}

// fromStaging is the images that the stack staging runs now.
func fromStaging(
	ctx *pulumi.Context, environment stack.Environment, services []catalog.Service,
) (map[string]Image, error) {
	name := fmt.Sprintf("organization/%s/%s", ctx.Project(), stack.Staging)
	reference, err := pulumi.NewStackReference(ctx, name, nil)
	if err != nil {
		return nil, fmt.Errorf("stack %s: read the images of stack %s: %w", environment, name, err)
	}
	details, err := reference.GetOutputDetails(Output)
	if err != nil {
		return nil, fmt.Errorf("stack %s: read the images of stack %s: %w", environment, name, err)
	}
	tested, _ := details.Value.(map[string]any)
	images := map[string]Image{}
	for _, service := range services {
		image, ok := parse(tested[service.Name])
		if !ok {
			return nil, fmt.Errorf("stack %s: %s has no image: this stack builds none, it takes those of stack %s, "+
				"and that has none for it: run `pulumi up --stack %s` first",
				environment, service.Name, name, stack.Staging)
		}
		images[service.Name] = image
	}
	return images, nil
}

func parse(output any) (Image, bool) {
	fields, _ := output.(map[string]any)
	version, _ := fields[outputVersion].(string)
	digest, _ := fields[outputDigest].(string)
	ok := regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(version) &&
		regexp.MustCompile(`^[^@]+@sha256:[0-9a-f]{64}$`).MatchString(digest)
	return Of(version, digest), ok
}
