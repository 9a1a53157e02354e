package preview

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"platform.example/infra/release"
)

// Measure sets the sizes of the images that get traffic, before and after. A preview pushes no image: build is the folder in which it has
// built them, empty if the stack builds none.
func (p *Preview) Measure(ctx context.Context, build string) {
	text := func(size int64, err error) string {
		if err != nil {
			return fmt.Sprintf("unknown (%v)", err)
		}
		return fmt.Sprintf("%.1f MiB", float64(size)/(1<<20))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, sentence := range p.Releases {
		if found := release.Moved.FindStringSubmatch(sentence); found != nil {
			service, former := found[1], release.Colour(found[2]).Other().Name(found[1])
			released, err := size(ctx, found[3])
			after := text(released, err)
			if err != nil && build != "" {
				after = "about " + text(compressed(filepath.Join(build, service, "app")))
			}
			p.Sizes = append(p.Sizes, fmt.Sprintf("%s: %s, before: %s", service, after, text(size(ctx, p.image(former)))))
		}
	}
}

// image returns the image that a Deployment runs before the update.
func (p *Preview) image(deployment string) string {
	for _, change := range p.Changes {
		if change.Object.Kind == "Deployment" && change.Object.Name == deployment {
			containers, _, _ := unstructured.NestedSlice(change.Before, "spec", "template", "spec", "containers")
			for _, container := range containers {
				fields, _ := container.(map[string]any)
				image, _ := fields["image"].(string)
				return image
			}
		}
	}
	return ""
}

// compressed returns the size of a file after gzip, as registries store it.
func compressed(path string) (int64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var written bytes.Buffer
	writer := gzip.NewWriter(&written)
	_, err = writer.Write(content)
	err = errors.Join(err, writer.Close()) // writes the last block
	return int64(written.Len()), err
}

// size returns the bytes that a node downloads: the compressed layers and the configuration, of the largest architecture.
func size(ctx context.Context, reference string) (largest int64, err error) {
	at, err := name.NewDigest(reference)
	if err != nil {
		return 0, err
	}
	found, err := remote.Get(at, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return 0, err
	}
	var images []v1.Image
	if list, isList := found.ImageIndex(); isList == nil {
		images, err = partial.FindImages(list, func(v1.Descriptor) bool { return true })
	} else {
		images = make([]v1.Image, 1)
		images[0], err = found.Image()
	}
	for _, image := range images {
		manifest, failed := image.Manifest()
		if err = errors.Join(err, failed); err != nil {
			return 0, err
		}
		size := manifest.Config.Size
		for _, layer := range manifest.Layers {
			size += layer.Size
		}
		largest = max(largest, size)
	}
	return largest, err
}
