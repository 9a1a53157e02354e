// Package artifact reads images in their registry, and attaches documents to them.
package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Options are the options of requests to a registry, with the credentials of `docker login`.
func Options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
}

// images returns the image, or the images of the manifest list, one per architecture.
func images(ctx context.Context, reference string) ([]v1.Image, error) {
	at, err := name.NewDigest(reference)
	if err != nil {
		return nil, err
	}
	found, err := remote.Get(at, Options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", reference, err)
	}
	if !found.MediaType.IsIndex() {
		image, err := found.Image()
		return []v1.Image{image}, err
	}
	list, err := found.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := list.IndexManifest()
	if err != nil {
		return nil, err
	}
	var images []v1.Image
	for _, entry := range manifest.Manifests {
		image, err := list.Image(entry.Digest)
		if err != nil {
			return nil, fmt.Errorf("read %s in %s: %w", entry.Digest, reference, err)
		}
		images = append(images, image)
	}
	return images, nil
}

// Size returns the bytes that a node downloads: the compressed layers and the configuration, of the largest architecture.
func Size(ctx context.Context, reference string) (int64, error) {
	found, err := images(ctx, reference)
	if err != nil {
		return 0, err
	}
	var largest int64
	for _, image := range found {
		manifest, err := image.Manifest()
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", reference, err)
		}
		size := manifest.Config.Size
		for _, layer := range manifest.Layers {
			size += layer.Size
		}
		largest = max(largest, size)
	}
	return largest, nil
}

// Binary is the program of an image of one architecture.
type Binary struct {
	Content []byte
	Version string    // label of the image
	Created time.Time // the image
	*debug.BuildInfo
}

// Binaries returns the file /app of the image, of each architecture.
func Binaries(ctx context.Context, reference string) ([]Binary, error) {
	found, err := images(ctx, reference)
	if err != nil {
		return nil, err
	}
	var binaries []Binary
	for _, image := range found {
		content, err := extract(image, "app")
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", reference, err)
		}
		info, err := buildinfo.Read(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("image %s: read the modules of /app: %w", reference, err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", reference, err)
		}
		binaries = append(binaries, Binary{content, config.Config.Labels["org.opencontainers.image.version"], config.Created.Time, info})
	}
	return binaries, nil
}

// extract returns the content of a file of an image.
func extract(image v1.Image, file string) (content []byte, err error) {
	archive := mutate.Extract(image)
	defer func() { err = errors.Join(err, archive.Close()) }()
	for reader := tar.NewReader(archive); ; {
		header, err := reader.Next()
		if err != nil {
			return nil, fmt.Errorf("find /%s: %w", file, err)
		}
		if path.Clean("/"+header.Name) == "/"+file && header.Typeflag == tar.TypeReg {
			return io.ReadAll(reader)
		}
	}
}

// Attach pushes a document as an OCI referrer of the image. It does nothing if the image has one of this media type already.
func Attach(ctx context.Context, reference, mediaType string, document []byte) error {
	at, err := name.NewDigest(reference)
	if err != nil {
		return err
	}
	if err := attach(at, types.MediaType(mediaType), document, Options(ctx)); err != nil {
		return fmt.Errorf("attach %s to %s: %w", mediaType, reference, err)
	}
	return nil
}

func attach(at name.Digest, mediaType types.MediaType, document []byte, options []remote.Option) error {
	referrers, err := remote.Referrers(at, options...)
	if err != nil {
		return err
	}
	attached, err := referrers.IndexManifest()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(attached.Manifests, func(d v1.Descriptor) bool { return d.ArtifactType == string(mediaType) }) {
		return nil
	}
	subject, err := remote.Head(at, options...)
	if err != nil {
		return err
	}
	artifact, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mediaType),
		static.NewLayer(document, mediaType))
	if err != nil {
		return err
	}
	referrer := mutate.Subject(artifact, *subject).(v1.Image)
	digest, err := referrer.Digest()
	if err != nil {
		return err
	}
	return remote.Write(at.Context().Digest(digest.String()), referrer, options...)
}
