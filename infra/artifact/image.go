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
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
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
		return nil, err
	}
	if list, err := found.ImageIndex(); err == nil {
		return partial.FindImages(list, func(v1.Descriptor) bool { return true })
	}
	image, err := found.Image()
	return []v1.Image{image}, err
}

// Size returns the bytes that a node downloads: the compressed layers and the configuration, of the largest architecture.
func Size(ctx context.Context, reference string) (largest int64, err error) {
	found, err := images(ctx, reference)
	if err != nil {
		return 0, err
	}
	for _, image := range found {
		manifest, err := image.Manifest()
		if err != nil {
			return 0, err
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
	*buildinfo.BuildInfo
	Content []byte
	Version string    // label of the image
	Created time.Time // the image
}

// Binaries returns the file /app of the image, of each architecture.
func Binaries(ctx context.Context, reference string) (binaries []Binary, err error) {
	found, err := images(ctx, reference)
	if err != nil {
		return nil, err
	}
	for _, image := range found {
		content, err := app(image)
		if err != nil {
			return nil, fmt.Errorf("find /app: %w", err)
		}
		info, err := buildinfo.Read(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("read the modules of /app: %w", err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		binaries = append(binaries, Binary{info, content, config.Config.Labels["org.opencontainers.image.version"], config.Created.Time})
	}
	return binaries, nil
}

// app returns the content of the file /app.
func app(image v1.Image) (content []byte, err error) {
	archive := mutate.Extract(image)
	defer func() { err = errors.Join(err, archive.Close()) }()
	reader := tar.NewReader(archive)
	for {
		if header, err := reader.Next(); err != nil {
			return nil, err
		} else if path.Clean("/"+header.Name) == "/app" {
			return io.ReadAll(reader)
		}
	}
}

// Attach pushes a document as an OCI referrer of the image. The same document is attached once.
func Attach(ctx context.Context, reference string, mediaType types.MediaType, document []byte) error {
	at, err := name.NewDigest(reference)
	if err != nil {
		return err
	}
	subject, err := remote.Head(at, Options(ctx)...)
	if err != nil {
		return err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mediaType)
	artifact, err := mutate.AppendLayers(base, static.NewLayer(document, mediaType))
	if err != nil {
		return err
	}
	referrer := mutate.Subject(artifact, *subject).(v1.Image)
	digest, err := referrer.Digest()
	if err != nil {
		return err
	}
	return remote.Write(at.Context().Digest(digest.String()), referrer, Options(ctx)...)
}
