package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

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

// programs is where an upstream's image has its one program, for those of which one like it is made of that alone.
var programs = map[string]string{"traefik": "usr/local/bin/traefik"}

// Tools compiles programs that are asked for.
type Tools interface {
	Path(ctx context.Context, name string) (string, error)
}

// Provide makes the registry answer for the image: with the real one, pulled by
// digest, where that can be had, else with one built here.
func Provide(ctx context.Context, registry, cache string, upstream Upstream, tools Tools, log *progress.Log) error {
	target, err := mirrored(registry, upstream.Image)
	if err != nil {
		return err
	}
	if there, err := exists(ctx, target); err != nil || there {
		return err
	}
	built, how, err := provide(ctx, cache, upstream, tools, log)
	if err != nil {
		return fmt.Errorf("image %s: %w", upstream.Image, err)
	}
	if err := push(ctx, target, built); err != nil {
		return err
	}
	log.Say("image %s: %s", upstream.Image, how)
	return nil
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
		if place, isProgram := programs[upstream.Name]; isProgram {
			log.Say("image %s: can't be pulled, making one of the program, compiled here", upstream.Image)
			path, err := tools.Path(ctx, upstream.Name)
			if err != nil {
				return nil, "", err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return nil, "", err
			}
			image, err = programImage(place, content)
			return image, "ready", err
		}
		if !hasRecipe {
			return nil, "", fmt.Errorf("%w; and there is no recipe to build one like it", pullErr)
		}
		log.Say("image %s: can't be pulled, building one from Debian packages (%v)", upstream.Image, recipe.packages)
	}
	image, err = recipe.build(ctx, cache, upstream.Name)
	return image, "ready", err
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
