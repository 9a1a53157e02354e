// Package image provides the services' images: built from the sources, or promoted from another stack.
package image

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi-docker/sdk/v4/go/docker"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/release"
	"platform.example/infra/stack"
)

// Image is a service's image.
type Image struct {
	Version   string              // hash of the content, 12 hexadecimal digits
	Schema    string              // hash of the migrations; empty without any, or if it isn't known
	Reference pulumi.StringOutput // repository@sha256:…
	Registry  string              // with the prefix of the repository
	Known     string              // Reference, unless the update builds the image
}

// ForServices returns the images by service. Root is the folder of the project. All services are compiled before the first resource, so
// that a compile error changes nothing. A stack that builds nothing gets the images that another stack has tested at the commit.
func ForServices(
	ctx *pulumi.Context, config stack.Stack, services []catalog.Service, architectures []string, root, commit, platformVersion string,
) (map[string]Image, error) {
	if !config.Build {
		return promoted(ctx, config, services, commit)
	}
	versions, err := versions(ctx.Context(), root, services, architectures)
	if err != nil {
		return nil, err
	}
	images := map[string]Image{}
	for _, service := range services {
		version := versions[service.Name]
		reference, err := build(ctx, config.Registry, root, service.Name, version, platformVersion, architectures)
		if err != nil {
			return nil, err
		}
		if config.Signature != (stack.Signature{}) && !ctx.DryRun() {
			reference = reference.ApplyT(func(built string) (string, error) {
				return sign(ctx.Context(), config.Signature, built)
			}).(pulumi.StringOutput)
		}
		schema, err := schema(filepath.Join(root, "apps", service.Name, "migrations"))
		if err != nil {
			return nil, err
		}
		images[service.Name] = Image{Version: version, Schema: schema, Reference: reference, Registry: config.Registry}
	}
	return images, nil
}

// Of is an existing image.
func Of(deployed release.Deployed) Image {
	return Image{
		Version: deployed.Version, Schema: deployed.Schema, Reference: pulumi.String(deployed.Image).ToStringOutput(),
		Registry: path.Dir(deployed.Image), Known: deployed.Image,
	}
}

// Unknown is a placeholder for rendered manifests.
func Unknown(registry, service string) Image {
	version := strings.Repeat("0", 12)
	reference := fmt.Sprintf("%s/%s@sha256:%s", cmp.Or(registry, "registry.invalid"), service, strings.Repeat("0", 64))
	image := Of(release.Deployed{Version: version, Image: reference})
	image.Known = ""
	return image
}

// build builds and pushes an image for each architecture and a manifest list of them. A preview does it too, to show the digest in the
// Deployment.
func build(
	ctx *pulumi.Context, registry, root, service, version, platformVersion string, architectures []string,
) (pulumi.StringOutput, error) {
	var built pulumi.StringArray
	for i, architecture := range architectures {
		name := service + suffix(architectures, i)
		image, err := docker.NewImage(ctx, name, &docker.ImageArgs{
			ImageName: pulumi.String(fmt.Sprintf("%s/%s:%s%s", registry, service, version, suffix(architectures, i))),
			Build: docker.DockerBuildArgs{
				Context:    pulumi.String(contextOf(root, name)),
				Dockerfile: pulumi.String(dockerfileOf(root)),
				Platform:   pulumi.String("linux/" + architecture),
				Args:       pulumi.StringMap{"TITLE": pulumi.String(service), "VERSION": pulumi.String(version), "PLATFORM": pulumi.String(platformVersion)},
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
			return references[0], nil // the images of a preview may not be in the registry
		}
		return list, err
	}).(pulumi.StringOutput), nil
}

// upstream lists the third-party images. The local platform reads the same file.
//
//go:embed upstream.json
var upstream []byte

// Upstream is the reference of a third-party image. The environment local uses its tag, so that a locally built image can replace it. The
// others use its digest. A mirror has images under their full names. Upstream panics if the embedded list has no such image.
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
	panic(fmt.Sprintf("upstream.json has no image %q", name))
}

// promoted returns the images that another stack has tested at the commit, or tested last if it is empty.
func promoted(ctx *pulumi.Context, config stack.Stack, services []catalog.Service, commit string) (map[string]Image, error) {
	name := fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), config.PromotesFrom)
	var tested map[string]release.Deployed
	reference, err := pulumi.NewStackReference(ctx, name, nil)
	if err == nil {
		var details *pulumi.StackReferenceOutputDetails
		if details, err = reference.GetOutputDetails(release.HistoryOutput); err == nil {
			tested, err = promotable(details.Value, commit)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stack %s: read the images of stack %s: %w", config.Name, name, err)
	}
	images := map[string]Image{}
	for _, service := range services {
		deployed, exists := tested[service.Name]
		if !exists {
			return nil, fmt.Errorf("stack %s: %s has no image: this stack uses the images of stack %s, which has none for it: "+
				"run `pulumi up --stack %s` first",
				config.Name, service.Name, name, config.PromotesFrom)
		}
		images[service.Name] = Of(deployed)
	}
	return images, nil
}

var (
	isVersion = regexp.MustCompile(`^[0-9a-f]{12}$`)
	isDigest  = regexp.MustCompile(`^[^@]+@sha256:[0-9a-f]{64}$`)
)

// promotable returns the services that the history in a stack's outputs has for promotion.
func promotable(output any, commit string) (map[string]release.Deployed, error) {
	var history release.History
	if err := release.Convert(output, &history); err != nil {
		return nil, fmt.Errorf("output %s: %w", release.HistoryOutput, err)
	}
	tested, err := history.Promotable(commit)
	for service, deployed := range tested {
		if !isVersion.MatchString(deployed.Version) || !isDigest.MatchString(deployed.Image) {
			return nil, fmt.Errorf("output %s: %s has version %q and image %q: want 12 hexadecimal digits and a digest",
				release.HistoryOutput, service, deployed.Version, deployed.Image)
		}
	}
	return tested, err
}
