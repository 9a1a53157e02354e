// Package image pushes images to the node's registry: programs compiled on this machine, upstream images pulled by digest, and
// replacements built from Debian packages for upstream images that can't be pulled.
package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// fast is the options of a layer: the registry is on this machine, so speed matters more than size.
var fast = []tarball.LayerOption{tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd)}

// PushProgram pushes an image of one static program, /<its file name>, and returns its reference by digest. It sends only
// what the registry lacks.
func PushProgram(ctx context.Context, repository, program string) (string, error) {
	layer, err := programLayer(filepath.Base(program), program)
	if err != nil {
		return "", fmt.Errorf("image of %s: %w", program, err)
	}
	built, err := assemble(programConfig(filepath.Base(program)), layer)
	if err != nil {
		return "", fmt.Errorf("image of %s: %w", program, err)
	}
	digest, err := built.Digest()
	if err != nil {
		return "", fmt.Errorf("image of %s: %w", program, err)
	}
	reference := repository + "@" + digest.String()
	return reference, push(ctx, reference, built)
}

// programLayer returns a layer with a static program at the given path.
func programLayer(path, program string) (v1.Layer, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	return fileLayer(path, 0o755, content)
}

// programConfig runs the program as an unprivileged user.
func programConfig(path string) v1.Config {
	return v1.Config{Entrypoint: []string{"/" + path}, User: "65532:65532"}
}

// fileLayer returns a layer with one file. The same content always gives the same bytes.
func fileLayer(file string, mode int64, content []byte) (v1.Layer, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	header := &tar.Header{Name: file, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}
	err := writer.WriteHeader(header)
	_, failed := writer.Write(content)
	if err := errors.Join(err, failed, writer.Close()); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	return tarball.LayerFromOpener(open, fast...)
}

func assemble(config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	layered, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layers...)
	if err != nil {
		return nil, err
	}
	file, err := layered.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	return mutate.ConfigFile(layered, file)
}

// push sends the image unless the registry has the reference, which contains the digest of its content.
func push(ctx context.Context, reference string, image v1.Image) error {
	found, err := exists(ctx, reference)
	if err != nil || found {
		return err
	}
	parsed, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return fmt.Errorf("push %s: %w", reference, err)
	}
	if err := remote.Write(parsed, image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push %s: %w", reference, err)
	}
	return nil
}

func exists(ctx context.Context, reference string) (bool, error) {
	parsed, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", reference, err)
	}
	_, err = remote.Head(parsed, remote.WithContext(ctx))
	var failure *transport.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &failure) && failure.StatusCode == http.StatusNotFound:
		return false, nil
	default:
		return false, fmt.Errorf("look for %s: %w", reference, err)
	}
}

// mirrored returns the name of the reference in the node's registry: docker.io/library/postgres:15 becomes
// <registry>/library/postgres:15.
func mirrored(registry, reference string) (string, error) {
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return "", fmt.Errorf("image name %s: %w", reference, err)
	}
	return path.Join(registry, parsed.Context().RepositoryStr()) + ":" + parsed.Identifier(), nil
}
