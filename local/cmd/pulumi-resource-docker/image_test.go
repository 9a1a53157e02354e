package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// properties returns a property map of plain values.
func properties(values map[string]any) resource.PropertyMap {
	return resource.NewPropertyMapFromMap(values)
}

// unknown is the output of a resource that doesn't exist yet.
func unknown() resource.PropertyValue { return resource.MakeComputed(resource.NewProperty("")) }

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestParseSetsDefaults(t *testing.T) {
	parsed, known, err := parse(properties(map[string]any{"imageName": "r/a:1"}))
	if err != nil || !known {
		t.Fatalf("known %v, %v", known, err)
	}
	if b := parsed.Build; b.Context != "." || b.Dockerfile != "Dockerfile" || b.Platform != "linux/"+runtime.GOARCH {
		t.Errorf("build %+v", b)
	}
	if parsed.SkipPush || parsed.BuildOnPreview {
		t.Errorf("image %+v", parsed)
	}
	parsed, _, _ = parse(properties(map[string]any{"build": map[string]any{"context": "../apps"}}))
	if parsed.Build.Dockerfile != "../apps/Dockerfile" {
		t.Errorf("dockerfile of the context ../apps is %s", parsed.Build.Dockerfile)
	}
}

func TestParseReadsAllInputs(t *testing.T) {
	parsed, known, err := parse(properties(map[string]any{
		"imageName": "r/a:1", "skipPush": true, "buildOnPreview": true,
		"build": map[string]any{
			"context": "c", "dockerfile": "d", "platform": "linux/arm64", "args": map[string]any{"A": "1", "EMPTY": ""},
		},
	}))
	if err != nil || !known {
		t.Fatalf("known %v, %v", known, err)
	}
	if parsed.Name != "r/a:1" || !parsed.SkipPush || !parsed.BuildOnPreview {
		t.Errorf("image %+v", parsed)
	}
	b := parsed.Build
	if b.Context != "c" || b.Dockerfile != "d" || b.Platform != "linux/arm64" || len(b.Args) != 2 || *b.Args["A"] != "1" || *b.Args["EMPTY"] != "" {
		t.Errorf("build %+v", b)
	}
}

func TestParseReportsUnknownInputs(t *testing.T) {
	for name, spoil := range map[string]func(resource.PropertyMap){
		"the name":      func(m resource.PropertyMap) { m["imageName"] = unknown() },
		"a secret name": func(m resource.PropertyMap) { m["imageName"] = resource.MakeSecret(unknown()) },
		"the build":     func(m resource.PropertyMap) { m["build"] = unknown() },
		"the context":   func(m resource.PropertyMap) { m["build"].ObjectValue()["context"] = unknown() },
		"an argument":   func(m resource.PropertyMap) { m["build"].ObjectValue()["args"].ObjectValue()["A"] = unknown() },
	} {
		inputs := properties(map[string]any{"imageName": "r/a:1", "build": map[string]any{"context": "c", "args": map[string]any{"A": "1"}}})
		if _, known, err := parse(inputs); !known || err != nil {
			t.Fatalf("want all inputs known, got %v, %v", known, err)
		}
		spoil(inputs)
		if _, known, err := parse(inputs); known || err != nil {
			t.Errorf("%s is unknown: known %v, %v", name, known, err)
		}
	}
}

func TestParseNamesUnsupportedInputs(t *testing.T) {
	for _, inputs := range []map[string]any{{"registry": map[string]any{}}, {"build": map[string]any{"target": "final"}}} {
		_, _, err := parse(properties(inputs))
		if err == nil || !strings.Contains(err.Error(), `"registry"`) && !strings.Contains(err.Error(), `"target"`) {
			t.Errorf("%v: %v", inputs, err)
		}
	}
}

func TestCheckErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, "apps/Dockerfile", "FROM scratch\n")
	writeFile(t, "apps/deploy/Dockerfile", "FROM scratch\n")
	for _, c := range []struct{ name, context, dockerfile, want string }{
		{"r/a:1", "apps", "apps/Dockerfile", ""},
		{"", "apps", "apps/Dockerfile", "imageName: not set: want <registry>/<repository>:<tag>"},
		{"r/a:1", "aps", "apps/Dockerfile", `build.context: no folder "aps"`},
		{"r/a:1", "apps/Dockerfile", "apps/Dockerfile", `build.context: no folder "apps/Dockerfile"`},
		{"r/a:1", "apps", "deploy/Dockerfile",
			`build.dockerfile: no file "deploy/Dockerfile": the path is relative to the program, not to the context; try "apps/deploy/Dockerfile"`},
		{"r/a:1", "apps", "nowhere", `build.dockerfile: no file "nowhere"`},
	} {
		err := image{Name: c.name, Build: buildInputs{Context: c.context, Dockerfile: c.dockerfile}}.check()
		if (err == nil) != (c.want == "") || (err != nil && err.Error() != c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
