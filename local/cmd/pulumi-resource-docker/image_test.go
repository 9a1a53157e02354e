package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/build"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// properties makes a property map of plain values.
func properties(values map[string]any) resource.PropertyMap {
	return resource.NewPropertyMapFromMap(values)
}

// unknown is the output of a resource that isn't made yet.
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

func TestParseFillsInDefaults(t *testing.T) {
	parsed, known, err := parse(properties(map[string]any{"imageName": "r/a:1"}))
	if err != nil || !known {
		t.Fatalf("known %v, %v", known, err)
	}
	if b := parsed.build; b.context != "." || b.dockerfile != "Dockerfile" || b.platform != "linux/"+runtime.GOARCH || b.builder != "" {
		t.Errorf("build %+v", b)
	}
	if parsed.skipPush || parsed.buildOnPreview {
		t.Errorf("image %+v", parsed)
	}
	parsed, _, _ = parse(properties(map[string]any{"build": map[string]any{"context": "../apps"}}))
	if parsed.build.dockerfile != "../apps/Dockerfile" {
		t.Errorf("dockerfile of the context ../apps is %s", parsed.build.dockerfile)
	}
}

func TestParseReadsAllInputs(t *testing.T) {
	inputs := properties(map[string]any{
		"imageName": "r/a:1", "skipPush": true, "buildOnPreview": true,
		"registry": map[string]any{"server": "r", "username": "u"},
		"build": map[string]any{
			"context": "c", "dockerfile": "d", "platform": "linux/arm64", "target": "final", "network": "none", "builderVersion": "BuilderV1",
			"args": map[string]any{"A": "1", "EMPTY": ""}, "addHosts": []any{"h:1.2.3.4"}, "cacheFrom": map[string]any{"images": []any{"r/a:0"}},
		},
	})
	inputs["registry"].ObjectValue()["password"] = resource.MakeSecret(resource.NewProperty("p"))
	parsed, known, err := parse(inputs)
	if err != nil || !known {
		t.Fatalf("known %v, %v", known, err)
	}
	if parsed.name != "r/a:1" || !parsed.skipPush || !parsed.buildOnPreview || parsed.registry != (registry{"r", "u", "p"}) {
		t.Errorf("image %+v", parsed)
	}
	b := parsed.build
	if b.context != "c" || b.dockerfile != "d" || b.platform != "linux/arm64" || b.target != "final" || b.network != "none" || b.builder != build.BuilderV1 {
		t.Errorf("build %+v", b)
	}
	if len(b.args) != 2 || *b.args["A"] != "1" || *b.args["EMPTY"] != "" || strings.Join(b.addHosts, ",") != "h:1.2.3.4" || strings.Join(b.cacheFrom, ",") != "r/a:0" {
		t.Errorf("build %+v", b)
	}
}

func TestParseTellsWhatIsNotKnownYet(t *testing.T) {
	for name, spoil := range map[string]func(resource.PropertyMap){
		"the name":             func(m resource.PropertyMap) { m["imageName"] = unknown() },
		"a secret name":        func(m resource.PropertyMap) { m["imageName"] = resource.MakeSecret(unknown()) },
		"the build":            func(m resource.PropertyMap) { m["build"] = unknown() },
		"the context":          func(m resource.PropertyMap) { m["build"].ObjectValue()["context"] = unknown() },
		"an argument":          func(m resource.PropertyMap) { m["build"].ObjectValue()["args"].ObjectValue()["A"] = unknown() },
		"a host":               func(m resource.PropertyMap) { m["build"].ObjectValue()["addHosts"].ArrayValue()[0] = unknown() },
		"the account":          func(m resource.PropertyMap) { m["registry"] = unknown() },
		"the account's secret": func(m resource.PropertyMap) { m["registry"].ObjectValue()["password"] = resource.MakeSecret(unknown()) },
	} {
		inputs := properties(map[string]any{
			"imageName": "r/a:1", "registry": map[string]any{"server": "r", "username": "u", "password": "p"},
			"build": map[string]any{"context": "c", "args": map[string]any{"A": "1"}, "addHosts": []any{"h:1.2.3.4"}},
		})
		if _, known, err := parse(inputs); !known || err != nil {
			t.Fatalf("all is known: %v, %v", known, err)
		}
		spoil(inputs)
		if _, known, err := parse(inputs); known || err != nil {
			t.Errorf("%s is unknown: known %v, %v", name, known, err)
		}
	}
}

func TestParseRefusesAnUnknownBuilder(t *testing.T) {
	_, _, err := parse(properties(map[string]any{"build": map[string]any{"builderVersion": "BuilderV3"}}))
	if err == nil || err.Error() != `build.builderVersion: "BuilderV3": want BuilderV1 or BuilderBuildKit` {
		t.Error(err)
	}
}

func TestCheckFaults(t *testing.T) {
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
		err := image{name: c.name, build: buildInputs{context: c.context, dockerfile: c.dockerfile}}.check()
		if (err == nil) != (c.want == "") || (err != nil && err.Error() != c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
