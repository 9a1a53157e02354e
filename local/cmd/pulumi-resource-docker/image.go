package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/docker/docker/api/types/build"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// image is what a resource's inputs ask for.
type image struct {
	name           string
	skipPush       bool
	buildOnPreview bool
	registry       registry
	build          buildInputs
}

type registry struct{ server, username, password string }

type buildInputs struct {
	context, dockerfile, platform, target, network string
	args                                           map[string]*string
	cacheFrom, addHosts                            []string
	builder                                        build.BuilderVersion // empty: the engine's default
}

// parse reads the inputs. It reports whether all that a build needs is known yet:
// in a preview, some of it may be the output of a resource that isn't made.
func parse(inputs resource.PropertyMap) (parsed image, known bool, err error) {
	known = true
	object := func(of resource.PropertyMap, key resource.PropertyKey) resource.PropertyMap {
		value := reveal(of[key])
		known = known && !value.ContainsUnknowns()
		if value.IsObject() {
			return value.ObjectValue()
		}
		return nil
	}
	text := func(of resource.PropertyMap, key resource.PropertyKey) string {
		value := reveal(of[key])
		known = known && !value.ContainsUnknowns()
		if value.IsString() {
			return value.StringValue()
		}
		return ""
	}
	flag := func(key resource.PropertyKey) bool {
		value := reveal(inputs[key])
		return value.IsBool() && value.BoolValue()
	}
	texts := func(of resource.PropertyMap, key resource.PropertyKey) (list []string) {
		if value := reveal(of[key]); value.IsArray() {
			for _, element := range value.ArrayValue() {
				if element = reveal(element); element.IsString() {
					list = append(list, element.StringValue())
				}
			}
		}
		return list
	}

	given := object(inputs, "build")
	account := object(inputs, "registry")
	parsed = image{
		name: text(inputs, "imageName"), skipPush: flag("skipPush"), buildOnPreview: flag("buildOnPreview"),
		registry: registry{text(account, "server"), text(account, "username"), text(account, "password")},
		build: buildInputs{
			context: text(given, "context"), dockerfile: text(given, "dockerfile"),
			platform: text(given, "platform"), target: text(given, "target"), network: text(given, "network"),
			addHosts: texts(given, "addHosts"), args: map[string]*string{},
		},
	}
	if from := object(given, "cacheFrom"); from != nil {
		parsed.build.cacheFrom = texts(from, "images")
	}
	for key := range object(given, "args") {
		value := text(object(given, "args"), key)
		parsed.build.args[string(key)] = &value
	}
	switch builder := text(given, "builderVersion"); builder {
	case "":
	case "BuilderV1":
		parsed.build.builder = build.BuilderV1
	case "BuilderBuildKit":
		parsed.build.builder = build.BuilderBuildKit
	default:
		return parsed, known, fmt.Errorf("build.builderVersion: %q: want BuilderV1 or BuilderBuildKit", builder)
	}
	if parsed.build.context == "" {
		parsed.build.context = "."
	}
	if parsed.build.dockerfile == "" {
		parsed.build.dockerfile = filepath.Join(parsed.build.context, "Dockerfile")
	}
	if parsed.build.platform == "" {
		parsed.build.platform = "linux/" + runtime.GOARCH
	}
	return parsed, known, nil
}

// check says what is wrong with an image whose inputs are known.
func (i image) check() error {
	if i.name == "" {
		return fmt.Errorf("imageName: not set: want <registry>/<repository>:<tag>")
	}
	if info, err := os.Stat(i.build.context); err != nil || !info.IsDir() {
		return fmt.Errorf("build.context: no folder %q", i.build.context)
	}
	if _, err := os.Stat(i.build.dockerfile); err == nil {
		return nil
	}
	inContext := filepath.Join(i.build.context, i.build.dockerfile)
	if _, err := os.Stat(inContext); err == nil {
		return fmt.Errorf("build.dockerfile: no file %q: the path is relative to the program, not to the context; try %q", i.build.dockerfile, inContext)
	}
	return fmt.Errorf("build.dockerfile: no file %q", i.build.dockerfile)
}

func reveal(value resource.PropertyValue) resource.PropertyValue {
	for value.IsSecret() {
		value = value.SecretValue().Element
	}
	return value
}
