package toolchain

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// family writes the files into a new folder of families and returns it.
func family(t *testing.T, files map[string]string) string {
	t.Helper()
	families := t.TempDir()
	writeAll(t, families, files)
	return families
}

func writeAll(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		rule       string
		fits       func(have, want string) bool
		have, want string
		fit        bool
	}{
		{"sameMinor", sameMinor, "v1.34.2", "v1.34.2", true},
		{"sameMinor", sameMinor, "v1.34.9", "v1.34.2", true},
		{"sameMinor", sameMinor, "v1.34.0", "v1.34.2", true},
		{"sameMinor", sameMinor, "v1.33.2", "v1.34.2", false},
		{"sameMinor", sameMinor, "v1.35.2", "v1.34.2", false},
		{"sameMinor", sameMinor, "v2.34.2", "v1.34.2", false},
		{"sameMinor", sameMinor, "v1.3.4", "v1.34.2", false},

		{"withinOneMinor", withinOneMinor, "v1.34.0", "v1.34.2", true},
		{"withinOneMinor", withinOneMinor, "v1.33.9", "v1.34.2", true},
		{"withinOneMinor", withinOneMinor, "v1.35.0", "v1.34.2", true},
		{"withinOneMinor", withinOneMinor, "v1.32.9", "v1.34.2", false},
		{"withinOneMinor", withinOneMinor, "v1.36.0", "v1.34.2", false},
		{"withinOneMinor", withinOneMinor, "v2.34.0", "v1.34.2", false},
		{"withinOneMinor", withinOneMinor, "v1.10.0", "v1.9.0", true},

		{"notOlder", PulumiTools()[0].Fits, "v3.250.0", "v3.250.0", true},
		{"notOlder", PulumiTools()[0].Fits, "v3.256.9", "v3.250.0", true},
		{"notOlder", PulumiTools()[0].Fits, "v3.257.0", "v3.250.0", true},
		{"notOlder", PulumiTools()[0].Fits, "v3.300.0", "v3.250.0", true},
		{"notOlder", PulumiTools()[0].Fits, "v4.0.0", "v3.250.0", false},
		{"notOlder", PulumiTools()[0].Fits, "v3.249.9", "v3.250.0", false},
		{"notOlder", PulumiTools()[0].Fits, "v3.99.0", "v3.250.0", false},
	} {
		if fit := c.fits(c.have, c.want); fit != c.fit {
			t.Errorf("%s: %s instead of %s: %v, want %v", c.rule, c.have, c.want, fit, c.fit)
		}
	}
}

func TestVersionIsTheRequiredOne(t *testing.T) {
	families := family(t, map[string]string{"f/go.mod": "module m\n\nrequire (\n\texample.com/a v1.2.3\n\texample.com/b v0.1.0 // indirect\n)\n"})
	for _, c := range []struct{ module, version, err string }{
		{"example.com/a", "v1.2.3", ""},
		{"example.com/b", "v0.1.0", ""},
		{"example.com/c", "", "tool x: " + filepath.Join(families, "f", "go.mod") + " does not require example.com/c"},
	} {
		version, err := Tool{Name: "x", Family: "f", Module: c.module}.version(families)
		if version != c.version || (err == nil) != (c.err == "") || (err != nil && err.Error() != c.err) {
			t.Errorf("%s: %q, %v, want %q, %q", c.module, version, err, c.version, c.err)
		}
	}
	if _, err := (Tool{Name: "x", Family: "none"}).version(families); err == nil || !strings.Contains(err.Error(), "tool x: ") {
		t.Errorf("a missing family: %v", err)
	}
}

func TestStamps(t *testing.T) {
	tool := Tool{Stamps: map[string]string{"p.full": "{version}", "p.minor": "{major}.{minor}", "p.number": "{number}", "p.fixed": "clean"}}
	want := "-X p.fixed=clean -X p.full=v1.34.2 -X p.minor=1.34 -X p.number=1.34.2 -s -w"
	for range 10 { // the flags are part of the key, but the order of maps is random
		if flags := tool.ldflags("v1.34.2"); flags != want {
			t.Fatalf("%s, want %s", flags, want)
		}
	}
}

func TestKeyChangesWithEachInput(t *testing.T) {
	tool := Tool{
		Name: "x", Family: "f", Package: "./x", Sources: []string{"lib"}, Module: "example.com/a",
		Stamps: map[string]string{"p.v": "{version}"}, Partial: map[string]string{"part": "example.com/part"},
	}
	files := map[string]string{
		"f/go.mod": "module m\n", "f/go.sum": "", "f/x/main.go": "package main\n", "f/x/more.go": "package main\n",
		"f/lib/lib.go": "package lib\n", "f/other/main.go": "package main\n", "f/lib/nested/n.go": "package nested\n",
		"g/go.mod": "module n\n", "f/x/README.md": "x\n", "f/part/go.mod": "module example.com/part\n",
	}
	key := func(t *testing.T, tool Tool, version string, changed map[string]string) string {
		t.Helper()
		all := maps.Clone(files)
		maps.Copy(all, changed)
		key, err := tool.key(family(t, all), version)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	base := key(t, tool, "v1.0.0", nil)
	if len(base) != 12 {
		t.Errorf("key %q", base)
	}
	edit := func(name string) map[string]string { return map[string]string{name: files[name] + "// changed\n"} }
	for _, c := range []struct {
		name    string
		tool    Tool
		version string
		files   map[string]string
		changes bool
	}{
		{"the folder", tool, "v1.0.0", nil, false},
		{"go.mod", tool, "v1.0.0", edit("f/go.mod"), true},
		{"go.sum", tool, "v1.0.0", edit("f/go.sum"), true},
		{"the main package", tool, "v1.0.0", edit("f/x/main.go"), true},
		{"another file of the main package", tool, "v1.0.0", edit("f/x/more.go"), true},
		{"a new file of the main package", tool, "v1.0.0", map[string]string{"f/x/new.go": "package main\n"}, true},
		{"a source package", tool, "v1.0.0", edit("f/lib/lib.go"), true},
		{"the stamped version", tool, "v1.0.1", nil, true},
		{"the stamped variable", with(tool, func(t *Tool) { t.Stamps = map[string]string{"p.v": "other"} }), "v1.0.0", nil, true},
		{"the package", with(tool, func(t *Tool) { t.Package = "./other" }), "v1.0.0", nil, true},
		{"a partially replaced module", tool, "v1.0.0", edit("f/part/go.mod"), true},
		{"the path of the partially replaced module", with(tool, func(t *Tool) { t.Partial = map[string]string{"part": "example.com/other"} }), "v1.0.0", nil, true},
		{"another tool's package", tool, "v1.0.0", edit("f/other/main.go"), false},
		{"a package below a source package", tool, "v1.0.0", edit("f/lib/nested/n.go"), false},
		{"another family", tool, "v1.0.0", edit("g/go.mod"), false},
		{"a text file beside the sources", tool, "v1.0.0", edit("f/x/README.md"), false},
		{"the check of a program on PATH", with(tool, func(t *Tool) { t.Fits, t.VersionArgs = sameMinor, []string{"-v"} }), "v1.0.0", nil, false},
		{"the link", with(tool, func(t *Tool) { t.Unlinked = true }), "v1.0.0", nil, false},
		{"the time of the compilation", with(tool, func(t *Tool) { t.OnDemand = true }), "v1.0.0", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := key(t, c.tool, c.version, c.files); (got != base) != c.changes {
				t.Errorf("key %s, was %s, want a new one: %v", got, base, c.changes)
			}
		})
	}
}

func with(tool Tool, change func(*Tool)) Tool {
	change(&tool)
	return tool
}

func TestKeyNeedsTheFilesOfTheFamily(t *testing.T) {
	families := family(t, map[string]string{"f/go.mod": "module m\n"})
	if _, err := (Tool{Name: "x", Family: "f"}).key(families, "v1.0.0"); err == nil || !strings.Contains(err.Error(), "tool x: ") || !strings.Contains(err.Error(), "go.sum") {
		t.Errorf("without go.sum: %v", err)
	}
}

// The folders of the families are beside this file.
func TestEveryToolIsPinned(t *testing.T) {
	names := map[string]bool{}
	for _, tool := range slices.Concat(NodeTools(), PulumiTools(), MonitoringTools(), []Tool{Traefik()}) {
		if names[tool.Name] {
			t.Errorf("%s is listed twice", tool.Name)
		}
		names[tool.Name] = true
		version, err := tool.version(".")
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := tool.key(".", version); err != nil {
			t.Error(err)
		}
		if tool.Fits != nil && (!tool.Fits(version, version) || len(tool.VersionArgs) == 0) {
			t.Errorf("%s: a program on PATH with the pinned version %s must fit, and VersionArgs must be set", tool.Name, version)
		}
		sources := tool.Sources
		if local, ok := strings.CutPrefix(tool.Package, "./"); ok {
			sources = append(sources, local)
		}
		for _, folder := range sources {
			if found, _ := filepath.Glob(filepath.Join(tool.Family, folder, "*.go")); len(found) == 0 {
				t.Errorf("%s has the source folder %s, which contains no Go file", tool.Name, folder)
			}
		}
		replaced, err := os.ReadFile(filepath.Join(tool.Family, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		for folder, path := range tool.Partial {
			if want := "replace " + path + " => ./" + folder + "\n"; !strings.Contains(string(replaced), want) {
				t.Errorf("%s replaces %s partially, but its family lacks: %s", tool.Name, path, want)
			}
		}
	}
	if !names[LanguageHost] {
		t.Errorf("no tool is called %s", LanguageHost)
	}
}

func TestPrometheusReportsTheReleaseOfItsModule(t *testing.T) {
	for version, want := range map[string]string{"v0.309.1": "v3.9.1", "v0.310.0": "v3.10.0", "v0.400.12": "v4.0.12"} {
		if got := prometheusRelease(version); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
	if flags := MonitoringTools()[0].ldflags("v0.310.0"); !strings.Contains(flags, "github.com/prometheus/common/version.Version=3.10.0") {
		t.Errorf("flags %s", flags)
	}
}

// Real output of the tools.
func TestVersionPattern(t *testing.T) {
	for output, want := range map[string]string{
		"Kubernetes v1.34.2\n":                                          "1.34.2",
		"Client Version: v1.34.2\nKustomize Version: v5.7.1\n":          "1.34.2",
		"etcd Version: 3.6.5\nGit SHA: a061450\nGo Version: go1.24.7\n": "3.6.5",
		"registry github.com/distribution/distribution/v3 v3.0.0\n":     "3.0.0",
		"v3.250.0\n":             "3.250.0",
		"v3.250.0-alpha.1\n":     "3.250.0",
		"usage: etcd [flags]\n":  "",
		"Go Version: go1.24.7\n": "",
	} {
		got := ""
		if match := versionPattern.FindStringSubmatch(output); match != nil {
			got = match[1]
		}
		if got != want {
			t.Errorf("%q: %q, want %q", output, got, want)
		}
	}
}

func TestScanFailsOnVulnerabilities(t *testing.T) {
	folder := t.TempDir()
	writeAll(t, folder, map[string]string{"curl": "#!/bin/sh\n", "go": "#!/bin/sh\nprintf \"$PRINTED\"\nexit $STATUS\n"})
	for _, name := range []string{"curl", "go"} {
		if err := os.Chmod(filepath.Join(folder, name), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	scan, err := filepath.Abs("vulns/scan")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		printed, status, want string
		fails                 bool
	}{
		{"No vulnerabilities found.", "0", "app: 0 reachable vulnerabilities", false},
		{`Vulnerability #1: GO-2000-0001\n`, "3", "app: 1 reachable vulnerabilities", true},
		{`Vulnerability 1: GO-2000-0001\n`, "3", "app: govulncheck reports vulnerabilities in an unknown format", true},
		{"no such module", "1", "no such module", true},
	} {
		work := t.TempDir()
		if err := os.Mkdir(filepath.Join(work, "app"), 0o700); err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), scan, "app")
		command.Dir, command.Env = work, []string{"PATH=" + folder + ":/usr/bin:/bin", "PRINTED=" + test.printed, "STATUS=" + test.status}
		printed, err := command.CombinedOutput()
		if (err != nil) != test.fails || !strings.Contains(string(printed), test.want) {
			t.Errorf("%q with status %s: %v, %s", test.printed, test.status, err, printed)
		}
	}
}
