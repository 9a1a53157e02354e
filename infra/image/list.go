package image

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pushList pushes a manifest list of the images, each for its architecture, and returns its reference. Where it is only
// wanted to know, nothing is pushed.
func pushList(ctx context.Context, references, architectures []string, onlyKnown bool) (string, error) {
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	list, repository := mutate.IndexMediaType(empty.Index, types.DockerManifestList), name.Repository{}
	for i, reference := range references {
		at, err := name.NewDigest(reference)
		if err != nil {
			return "", err
		}
		image, err := remote.Image(at, options...)
		if err != nil {
			return "", fmt.Errorf("manifest list: read %s: %w", reference, err)
		}
		repository = at.Context()
		list = mutate.AppendManifests(list, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: architectures[i]},
		}})
	}
	digest, err := list.Digest()
	if err != nil {
		return "", err
	}
	at := repository.Digest(digest.String())
	if !onlyKnown {
		if err := remote.WriteIndex(at, list, options...); err != nil {
			return "", fmt.Errorf("manifest list: push %s: %w", at, err)
		}
	}
	return at.String(), nil
}
