// Package image provides the services' images: built from the sources, or promoted from another stack.
package image

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	text, err := json.Marshal(output)
	if err != nil {
		return nil, err
	}
	var history release.History
	if err := json.Unmarshal(text, &history); err != nil {
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

// KeyVariable is the environment variable with the private key that signs images, encrypted by COSIGN_PASSWORD. Without it, cosign signs
// with the identity of the workflow run.
const KeyVariable = "COSIGN_PRIVATE_KEY"

// Verify returns an error unless the image has a valid signature. Without a signature in the stack's configuration, it accepts any image.
func Verify(ctx context.Context, signature stack.Signature, reference string) error {
	if signature == (stack.Signature{}) {
		return nil
	}
	by, args := signature.Identity, []string{"--certificate-identity", signature.Identity, "--certificate-oidc-issuer", signature.Issuer}
	if signature.Key != "" {
		file, err := os.CreateTemp("", "signature-*.pub")
		if err != nil {
			return err
		}
		defer os.Remove(file.Name()) //nolint:errcheck // a public key
		if _, err := file.WriteString(signature.Key + "\n"); err != nil {
			return errors.Join(err, file.Close())
		}
		if err := file.Close(); err != nil {
			return err
		}
		by, args = "the key signature.key", []string{"--key", file.Name(), "--insecure-ignore-tlog=true"} // a private registry has no public log
	}
	if err := cosign(ctx, append(append([]string{"verify"}, args...), reference)...); err != nil {
		return fmt.Errorf("image %s has no valid signature by %s, so it isn't released: release it with the pipeline that signs (docs/delivery.md): %w",
			reference, by, err)
	}
	return nil
}

// sign signs an image that has no valid signature yet, and returns its reference once it has one.
func sign(ctx context.Context, signature stack.Signature, reference string) (string, error) {
	if err := Verify(ctx, signature, reference); err == nil || errors.Is(err, exec.ErrNotFound) {
		return reference, err
	}
	args := []string{"sign", "--yes"}
	if os.Getenv(KeyVariable) != "" {
		args = append(args, "--key", "env://"+KeyVariable, "--use-signing-config=false", "--tlog-upload=false")
	} else if signature.Key != "" {
		return "", fmt.Errorf("image %s: %s is not set: it signs the images that signature.key verifies", reference, KeyVariable)
	}
	if err := cosign(ctx, append(args, reference)...); err != nil {
		return "", fmt.Errorf("sign image %s: %w", reference, err)
	}
	return reference, Verify(ctx, signature, reference)
}

// cosign runs cosign. Its error is cosign's last line.
func cosign(ctx context.Context, args ...string) error {
	output, err := exec.CommandContext(ctx, "cosign", args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: put it on PATH, such as with PATH=\"$(dirname \"$(bin/local tool cosign)\"):$PATH\"", err)
	}
	if lines := strings.Split(strings.TrimSpace(string(output)), "\n"); err != nil {
		return fmt.Errorf("cosign: %w: %s", err, lines[len(lines)-1])
	}
	return nil
}
