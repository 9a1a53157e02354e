package image

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"platform.example/local/progress"
)

// Upstream is an image of somebody else that the program asks for.
type Upstream struct {
	// Name is what the program calls it, and the recipe's name where it can't be pulled.
	Name string `json:"name"`
	// Image is the reference by tag.
	Image string `json:"image"`
	// Digest is what the tag stood for when it was pinned.
	Digest string `json:"digest"`
	// Optional is the stack's setting, such as monitoring.grafana, that is set to false where the image can neither be
	// pulled nor built. Empty: the platform is nothing without it.
	Optional string `json:"optional"`
}

// ReadUpstreams reads the program's list of images.
func ReadUpstreams(path string) ([]Upstream, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("list of images: %w", err)
	}
	var list []Upstream
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, fmt.Errorf("list of images %s: %w", path, err)
	}
	return list, nil
}

// A registry that hasn't answered by then can't be reached.
const resolveLimit = 15 * time.Second

// programs are where an upstream's image has its programs, for those of which one like it is made of them alone. Each is
// called as the tool is; the first is what the image runs.
var programs = map[string][]string{
	"traefik":            {"usr/local/bin/traefik"},
	"prometheus":         {"bin/prometheus", "bin/promtool"},
	"alertmanager":       {"bin/alertmanager", "bin/amtool"},
	"kube-state-metrics": {"kube-state-metrics"},
	"node-exporter":      {"bin/node_exporter"},
	"postgres-exporter":  {"bin/postgres_exporter"},
	"redis-exporter":     {"redis_exporter"},
	"otel-collector":     {"otelcol-contrib"},
}

// Tools compiles programs that are asked for.
type Tools interface {
	Path(ctx context.Context, name string) (string, error)
}

// errNoRecipe: there is nothing to build an image from that could stand in for the real one.
var errNoRecipe = errors.New("there is no recipe to build one like it")

// Provide makes the registry answer for the image: with the real one, pulled by
// digest, where that can be had, else with one built here. It reports whether the
// image is there, which only an optional one may not be without an error.
func Provide(ctx context.Context, registry, cache string, upstream Upstream, tools Tools, log *progress.Log) (there bool, err error) {
	target, err := mirrored(registry, upstream.Image)
	if err != nil {
		return false, err
	}
	if there, err := exists(ctx, target); err != nil || there {
		return there, err
	}
	built, how, err := provide(ctx, cache, upstream, tools, log)
	if upstream.Optional != "" && errors.Is(err, errNoRecipe) && ctx.Err() == nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("image %s: %w", upstream.Image, err)
	}
	if err := push(ctx, target, built); err != nil {
		return false, err
	}
	log.Say("image %s: %s", upstream.Image, how)
	return true, nil
}

// provide is the image and, in a word, how it came about.
func provide(
	ctx context.Context, cache string, upstream Upstream, tools Tools, log *progress.Log,
) (image v1.Image, how string, err error) {
	recipe, hasRecipe := recipes[upstream.Name]
	if !hasRecipe || !recipe.isBuilt(cache, upstream.Name) {
		pulled, pullErr := pull(ctx, upstream)
		if pullErr == nil {
			return pulled, "pulled", nil
		}
		if places, isProgram := programs[upstream.Name]; isProgram {
			log.Say("image %s: can't be pulled, making one of the program, compiled here", upstream.Image)
			image, err = ofPrograms(ctx, places, tools)
			return image, "ready", err
		}
		if !hasRecipe {
			return nil, "", fmt.Errorf("%w; and %w", pullErr, errNoRecipe)
		}
		log.Say("image %s: can't be pulled, building one from Debian packages (%v)", upstream.Image, recipe.packages)
	}
	image, err = recipe.build(ctx, cache, upstream.Name)
	return image, "ready", err
}

// ofPrograms is an image of programs that the toolchain compiles.
func ofPrograms(ctx context.Context, places []string, tools Tools) (v1.Image, error) {
	layers := []v1.Layer{}
	for _, place := range places {
		program, err := tools.Path(ctx, path.Base(place))
		if err != nil {
			return nil, err
		}
		content, err := os.ReadFile(program)
		if err != nil {
			return nil, err
		}
		layer, err := fileLayer(place, 0o755, content)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	roots, err := rootsLayer()
	if err != nil {
		return nil, err
	}
	return assemble(programConfig(places[0]), append(layers, roots)...)
}

// rootsLayer holds the authorities that certify public servers, where Go's programs look for them: Alertmanager, for one,
// calls chat services.
func rootsLayer() (v1.Layer, error) {
	var file bytes.Buffer
	for root := range bundle.Roots() {
		if err := pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, fmt.Errorf("certificate authorities: %w", err)
		}
	}
	return fileLayer("etc/ssl/certs/ca-certificates.crt", 0o644, file.Bytes())
}

func pull(ctx context.Context, upstream Upstream) (v1.Image, error) {
	reference := upstream.Image
	if upstream.Digest != "" {
		reference += "@" + upstream.Digest
	}
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return nil, fmt.Errorf("name %s: %w", reference, err)
	}
	// Only the answer to the first question is waited for so briefly: layers may be large.
	resolve, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	platform := v1.Platform{OS: "linux", Architecture: "amd64"}
	if _, err := remote.Head(parsed, remote.WithContext(resolve), remote.WithPlatform(platform)); err != nil {
		return nil, err
	}
	return remote.Image(parsed, remote.WithContext(ctx), remote.WithPlatform(platform))
}
