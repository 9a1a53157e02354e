// Package image provides the image of each service: built from its source, or the one that staging has tested.
package image

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi-docker/sdk/v4/go/docker"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/stack"
)

// Image is what a service runs as.
type Image struct {
	Version   string              // hash of the content, 12 hexadecimal digits
	Reference pulumi.StringOutput // repository@sha256:…
}

// ForServices is the image of each service by its name. Root is the folder of the project; every service is compiled
// before the first resource, so that a compiler's error leaves everything as it is.
func ForServices(
	ctx *pulumi.Context, config stack.Stack, services []catalog.Service, architectures []string, root string,
) (map[string]Image, error) {
	if !config.Build {
		return promoted(ctx, config, services)
	}
	versions, err := versions(ctx.Context(), root, services, architectures)
	if err != nil {
		return nil, err
	}
	images := map[string]Image{}
	for _, service := range services {
		version := versions[service.Name]
		reference, err := build(ctx, config.Registry, root, service.Name, version, architectures)
		if err != nil {
			return nil, err
		}
		images[service.Name] = Image{Version: version, Reference: reference}
	}
	return images, nil
}

// Of is an image that is there already.
func Of(version, reference string) Image {
	return Image{Version: version, Reference: pulumi.String(reference).ToStringOutput()}
}

// Unknown stands for the image of a service where nothing is built and no staging is asked.
func Unknown(registry, service string) Image {
	version := strings.Repeat("0", 12)
	reference := fmt.Sprintf("%s/%s@sha256:%s", cmp.Or(registry, "registry.invalid"), service, strings.Repeat("0", 64))
	return Of(version, reference)
}

// build makes the image and pushes it, one for each architecture and a list of them. In a preview too: its digest is what the
// preview of a Deployment shows.
func build(ctx *pulumi.Context, registry, root, service, version string, architectures []string) (pulumi.StringOutput, error) {
	var built pulumi.StringArray
	for i, architecture := range architectures {
		name := service + suffix(architectures, i)
		image, err := docker.NewImage(ctx, name, &docker.ImageArgs{
			ImageName: pulumi.String(fmt.Sprintf("%s/%s:%s%s", registry, service, version, suffix(architectures, i))),
			Build: docker.DockerBuildArgs{
				Context:    pulumi.String(contextOf(root, name)),
				Dockerfile: pulumi.String(dockerfileOf(root)),
				Platform:   pulumi.String("linux/" + architecture),
				Args:       pulumi.StringMap{"TITLE": pulumi.String(service), "VERSION": pulumi.String(version)},
			},
			BuildOnPreview: pulumi.Bool(true),
		})
		if err != nil {
			return pulumi.StringOutput{}, fmt.Errorf("image of %s: %w", name, err)
		}
		built = append(built, image.RepoDigest)
	}
	if len(built) == 1 {
		return built[0].ToStringOutput(), nil
	}
	return built.ToStringArrayOutput().ApplyT(func(references []string) (string, error) {
		list, err := pushList(ctx.Context(), references, architectures, ctx.DryRun())
		if err != nil && ctx.DryRun() {
			return references[0], nil // a preview pushes no image that a list could name
		}
		return list, err
	}).(pulumi.StringOutput), nil
}

// upstream lists the images that others make. The local platform reads the same file.
//
//go:embed upstream.json
var upstream []byte

// Upstream is the reference of an image that others make. The environment local names it by its tag, so that an image
// built in its place is accepted; the others pin the digest. A mirror has them under their full names. It panics where the
// list, which is a part of this program, has no such image.
func Upstream(name string, environment stack.Environment, mirror string) string {
	var images []struct{ Name, Image, Digest string }
	if err := json.Unmarshal(upstream, &images); err != nil {
		panic(fmt.Sprintf("read upstream.json: %s", err))
	}
	for _, image := range images {
		switch {
		case image.Name != name:
		case image.Digest == "" || environment == stack.Local:
			return path.Join(mirror, image.Image)
		default:
			return path.Join(mirror, image.Image) + "@" + image.Digest
		}
	}
	panic(fmt.Sprintf("upstream.json names no image %q", name))
}

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
