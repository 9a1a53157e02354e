package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// image is the inputs of a resource that this plugin supports. parse refuses the other inputs of the real plugin.
type image struct {
	Name           string      `json:"imageName"`
	SkipPush       bool        `json:"skipPush"`
	BuildOnPreview bool        `json:"buildOnPreview"`
	Build          buildInputs `json:"build"`
}

type buildInputs struct {
	Context    string             `json:"context"`
	Dockerfile string             `json:"dockerfile"`
	Platform   string             `json:"platform"`
	Args       map[string]*string `json:"args"`
	Digest     string             `json:"contextDigest"` // added by Check
}

// parse reads the inputs. known is false while some are unknown: in a preview, an input may be the output of a resource that
// doesn't exist yet.
func parse(inputs resource.PropertyMap) (parsed image, known bool, err error) {
	if inputs.ContainsUnknowns() {
		return parsed, false, nil
	}
	text, err := json.Marshal(inputs.Mappable())
	if err != nil {
		return parsed, true, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&parsed); err != nil {
		return parsed, true, fmt.Errorf("inputs: %w", err)
	}
	parsed.Build.Context = cmp.Or(parsed.Build.Context, ".")
	parsed.Build.Dockerfile = cmp.Or(parsed.Build.Dockerfile, filepath.Join(parsed.Build.Context, "Dockerfile"))
	parsed.Build.Platform = cmp.Or(parsed.Build.Platform, "linux/"+runtime.GOARCH)
	return parsed, true, nil
}

// check validates an image whose inputs are known.
func (i image) check() error {
	if i.Name == "" {
		return fmt.Errorf("imageName: not set: want <registry>/<repository>:<tag>")
	}
	if info, err := os.Stat(i.Build.Context); err != nil || !info.IsDir() {
		return fmt.Errorf("build.context: no folder %q", i.Build.Context)
	}
	if _, err := os.Stat(i.Build.Dockerfile); err == nil {
		return nil
	}
	inContext := filepath.Join(i.Build.Context, i.Build.Dockerfile)
	if _, err := os.Stat(inContext); err == nil {
		return fmt.Errorf("build.dockerfile: no file %q: the path is relative to the program, not to the context; try %q", i.Build.Dockerfile, inContext)
	}
	return fmt.Errorf("build.dockerfile: no file %q", i.Build.Dockerfile)
}
