package image

import (
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/stack"
)

// Output is the name of the stack output that holds, for each service, what Outputs makes of its image.
const Output = "services"

// Stated is how the outputs of a stack state what a service runs; promoted reads it.
type Stated struct {
	Version string `json:"version"`
	Digest  string `json:"digest"` // repository@sha256:…
}

// promoted is the images that another stack runs now.
func promoted(ctx *pulumi.Context, config stack.Stack, services []catalog.Service) (map[string]Image, error) {
	name := fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), config.PromotesFrom)
	reference, err := pulumi.NewStackReference(ctx, name, nil)
	if err != nil {
		return nil, fmt.Errorf("stack %s: read the images of stack %s: %w", config.Name, name, err)
	}
	details, err := reference.GetOutputDetails(Output)
	if err != nil {
		return nil, fmt.Errorf("stack %s: read the images of stack %s: %w", config.Name, name, err)
	}
	tested, _ := details.Value.(map[string]any)
	images := map[string]Image{}
	for _, service := range services {
		image, ok := parse(tested[service.Name])
		if !ok {
			return nil, fmt.Errorf("stack %s: %s has no image: this stack builds none, it takes those of stack %s, "+
				"and that has none for it: run `pulumi up --stack %s` first",
				config.Name, service.Name, name, config.PromotesFrom)
		}
		images[service.Name] = image
	}
	return images, nil
}

func parse(output any) (Image, bool) {
	var is Stated
	text, err := json.Marshal(output)
	if err == nil {
		err = json.Unmarshal(text, &is)
	}
	ok := err == nil && regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(is.Version) &&
		regexp.MustCompile(`^[^@]+@sha256:[0-9a-f]{64}$`).MatchString(is.Digest)
	return Of(is.Version, is.Digest), ok
}
