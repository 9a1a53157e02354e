package preview

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"platform.example/infra/artifact"
	"platform.example/infra/release"
)

// moved matches the sentence of a plan that moves traffic: the service, its next colour and the image of that colour.
var moved = regexp.MustCompile(`^(\S+) (?:is released: from|goes back from) .* in (blue|green) \(([^)]*)\)`)

// sizeTime is how long the registry may take to answer for one image.
const sizeTime = 20 * time.Second

// Measure sets the sizes of the images that get traffic, before and after. A preview pushes no image: build is the folder in which it has
// built them, empty if the stack builds none.
func (p *Preview) Measure(ctx context.Context, build string) {
	for _, sentence := range p.Releases {
		found := moved.FindStringSubmatch(sentence)
		if found == nil {
			continue
		}
		service, colour, image := found[1], release.Colour(found[2]), found[3]
		after, err := size(ctx, image)
		if err != nil && build != "" {
			if estimate, failed := compressed(filepath.Join(build, service, "app")); failed == nil {
				after, err = "about "+mebibytes(estimate), nil
			}
		}
		before, missing := size(ctx, p.imageOf(colour.Other().Name(service)))
		if err != nil {
			after = fmt.Sprintf("unknown (%v)", err)
		}
		if missing != nil {
			before = fmt.Sprintf("unknown (%v)", missing)
		}
		p.Sizes = append(p.Sizes, fmt.Sprintf("%s: %s, before: %s", service, after, before))
	}
}

func size(ctx context.Context, image string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, sizeTime)
	defer cancel()
	bytes, err := artifact.Size(ctx, image)
	return mebibytes(bytes), err
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// imageOf returns the image that a Deployment runs before the update.
func (p *Preview) imageOf(deployment string) string {
	for _, change := range p.Changes {
		if change.Object.Kind == "Deployment" && change.Object.Name == deployment {
			containers, _, _ := unstructured.NestedSlice(change.Before, "spec", "template", "spec", "containers")
			for _, container := range containers {
				fields, _ := container.(map[string]any)
				return at(fields, "image")
			}
		}
	}
	return ""
}

// compressed returns the size of a file after gzip, as registries store it.
func compressed(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close() //nolint:errcheck // only read
	var written counter
	writer := gzip.NewWriter(&written)
	if _, err := io.Copy(writer, file); err != nil {
		return 0, err
	}
	err = writer.Close()
	return int64(written), err
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
