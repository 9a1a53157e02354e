// Package preview summarises what an update changes, for reviewers: from the output of `pulumi preview --json`, or from the rendered
// manifests of two versions of the sources.
package preview

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"platform.example/infra/objectref"
	"platform.example/infra/release"
)

// Operation is what an update does with a resource.
type Operation string

// The operations, in the order in which a reviewer wants to see them.
const (
	Replace Operation = "replace"
	Delete  Operation = "delete"
	Update  Operation = "update"
	Create  Operation = "create"
	Same    Operation = "same"
)

// Change is one resource before and after the update.
type Change struct {
	Operation     Operation
	Object        objectref.Ref  // of an image, the kind is Image
	Before, After map[string]any // the manifests; nil if the resource doesn't exist
}

// Preview is what an update changes.
type Preview struct {
	Stack    string
	Changes  []Change
	Releases []string // sentences of the release plans
	Sizes    []string // of the released images
	Warnings []string // drift, and other warnings of the program
	Errors   []string // the preview failed if there are any
}

// state is a resource in the output of `pulumi preview --json`.
type state struct {
	Type   string         `json:"type"`
	Inputs map[string]any `json:"inputs"`
}

// Read reads the output of `pulumi preview --json --show-sames`. If the preview failed, the messages of the program may be its only errors.
func Read(stack string, output io.Reader, failed bool) (Preview, error) {
	var content struct {
		Steps []struct {
			Op                 string
			URN                resource.URN
			OldState, NewState *state
		}
		Diagnostics []struct{ Severity, Message string }
	}
	preview, messages := Preview{Stack: stack}, []string(nil)
	if err := json.NewDecoder(output).Decode(&content); err != nil {
		return preview, fmt.Errorf("read the output of `pulumi preview --json --stack %s`: %w", stack, err)
	}
	for _, step := range content.Steps {
		change := Change{Operation: Operation(step.Op)}
		last := step.NewState
		if step.OldState != nil {
			change.Before, last = step.OldState.Inputs, step.OldState
		}
		if step.NewState != nil {
			change.After, last = step.NewState.Inputs, step.NewState
		}
		known := slices.Contains([]Operation{Replace, Delete, Update, Create, Same}, change.Operation)
		switch { // a replacement also has a step for the new and one for the old resource
		case !known || last == nil:
			continue
		case strings.HasPrefix(last.Type, "kubernetes:"):
			change.Object = objectref.Of(last.Inputs)
		case last.Type == "docker:index/image:Image":
			change.Object.Kind = "Image"
		default:
			continue
		}
		if change.Operation == Delete {
			change.After = nil
		}
		for _, inputs := range []map[string]any{change.Before, change.After} {
			if _, hidden := inputs["data"].(string); hidden && change.Object.Kind == "Secret" {
				delete(inputs, "data") // pulumi prints [secret]
			}
		}
		change.Object.Name = cmp.Or(change.Object.Name, step.URN.Name())
		preview.Changes = append(preview.Changes, change)
	}
	for _, diagnostic := range content.Diagnostics {
		text := strings.TrimSpace(colours.ReplaceAllString(diagnostic.Message, ""))
		switch {
		case text == "":
		case strings.HasPrefix(diagnostic.Severity, "error"):
			preview.Errors = append(preview.Errors, text)
		case strings.HasPrefix(diagnostic.Severity, "warning"):
			preview.Warnings = append(preview.Warnings, text)
		case strings.HasPrefix(diagnostic.Severity, "info#err"):
			messages = append(messages, text)
		case release.Planned.MatchString(text):
			preview.Releases = append(preview.Releases, text)
		}
	}
	if failed && len(preview.Errors) == 0 {
		preview.Errors = slices.Concat(messages, []string{"pulumi reported no error: run `pulumi preview --stack " + stack + "` for its output"})
	}
	slices.Sort(preview.Releases)
	return preview, nil
}

// colours matches pulumi's colour tags and the escape sequences of terminals.
var colours = regexp.MustCompile(`<\{%[^%]*%\}>|\x1b\[[0-9;]*m`)

// Compare compares the rendered manifests of two versions of the sources.
func Compare(stack string, before, after []map[string]any) Preview {
	preview := Preview{Stack: stack}
	changes := map[string]Change{}
	for _, manifest := range before {
		object := objectref.Of(manifest)
		changes[object.String()] = Change{Operation: Delete, Object: object, Before: manifest}
	}
	for _, manifest := range after {
		object := objectref.Of(manifest)
		change := Change{Operation: Create, Object: object, Before: changes[object.String()].Before, After: manifest}
		switch {
		case reflect.DeepEqual(change.Before, change.After):
			change.Operation = Same
		case change.Before != nil:
			change.Operation = Update
		}
		changes[object.String()] = change
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		preview.Changes = append(preview.Changes, changes[name])
	}
	return preview
}

// Fields returns the paths of the fields that differ, such as spec.replicas.
func (c Change) Fields() []string {
	var paths []string
	var compare func(path string, before, after any)
	compare = func(path string, before, after any) {
		old, wasMap := before.(map[string]any)
		now, isMap := after.(map[string]any)
		switch {
		case wasMap && isMap:
			keys := maps.Clone(now)
			maps.Copy(keys, old)
			for _, key := range slices.Sorted(maps.Keys(keys)) {
				compare(strings.TrimPrefix(path+"."+key, "."), old[key], now[key])
			}
		case !reflect.DeepEqual(before, after):
			older, _ := before.([]any)
			newer, _ := after.([]any)
			if len(older) == 0 || len(older) != len(newer) {
				paths = append(paths, path)
				return
			}
			for i := range older {
				compare(fmt.Sprintf("%s[%d]", path, i), older[i], newer[i])
			}
		}
	}
	compare("", c.Before, c.After)
	return paths
}

// entries returns the elements of a list in a manifest as text, such as the rules of a Role.
func entries(manifest map[string]any, path ...string) []string {
	found, _, _ := unstructured.NestedFieldNoCopy(manifest, path...)
	list, isList := found.([]any)
	if !isList && found != nil {
		list = []any{found}
	}
	var texts []string
	for _, element := range list {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(element) // plain values always encode
		texts = append(texts, strings.TrimSpace(text.String()))
	}
	return texts
}
