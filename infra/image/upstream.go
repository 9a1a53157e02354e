package image

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"path"

	"platform.example/infra/stack"
)

// upstream lists the images that others make. Whoever fetches or replaces them for a cluster reads the same file.
//
//go:embed upstream.json
var upstream []byte

// Upstream is the reference of an image that others make. The environment local names it by its tag, so that an image
// built in its place is accepted; the others pin the digest. A mirror has them under their full names. It panics where the
// list, which is a part of this program, has no such image.
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
	panic(fmt.Sprintf("upstream.json names no image %q", name))
}
