package toolchain

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"platform.example/local/progress"
	"platform.example/local/reach"
)

// tiny returns a family of tools without dependencies, whose single module is a folder.
func tiny(t *testing.T, mains map[string]string) string {
	t.Helper()
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "")
	files := map[string]string{
		"tiny/go.mod":          "module example.com/tiny\n\ngo 1.26\n\nrequire example.com/pinned v1.2.3\n\nreplace example.com/pinned => ./pinned\n",
		"tiny/go.sum":          "",
		"tiny/pinned/go.mod":   "module example.com/pinned\n\ngo 1.26\n",
		"tiny/pinned/data.txt": "embedded\n",
	}
	for name, source := range mains {
		files["tiny/"+name+"/main.go"] = source
	}
	return family(t, files)
}

const printsVersion = `package main

var version string

func main() { print(version) }
`

func tinyTool(name string) Tool {
	return Tool{Name: name, Family: "tiny", Package: "./" + name, Module: "example.com/pinned", Stamps: map[string]string{"main.version": "{version}"}}
}

// bench is a builder with its own folders, and its log.
type bench struct {
	*Builder
	logged *bytes.Buffer
}

// on returns a new builder on the cache and links of the folder, as each run has it.
func on(folder, families string, tools ...Tool) bench {
	return within(time.Minute, folder, families, tools...)
}

// within is on with another limit for the response of a host.
func within(limit time.Duration, folder, families string, tools ...Tool) bench {
	var logged bytes.Buffer
	log := progress.New(&logged)
	builder := NewBuilder(families, filepath.Join(folder, "cache"), filepath.Join(folder, "bin"), filepath.Join(folder, "home"), tools, reach.New(limit, log), log)
	return bench{builder, &logged}
}

// path returns the tool's path from a builder that has run.
func (b bench) path(t *testing.T, name string) string {
	t.Helper()
	path, err := b.Path(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// prints returns the output of a program.
func prints(t *testing.T, program string) string {
	t.Helper()
	output, err := exec.Command(program).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}

func TestToolIsCompiledOnce(t *testing.T) {
	families, folder := tiny(t, map[string]string{"hello": printsVersion}), t.TempDir()
	first := on(folder, families, tinyTool("hello"))
	if !first.Cold() {
		t.Error("Cold is false before the first compilation")
	}
	if err := first.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := first.path(t, "hello")
	if got := prints(t, path); got != "v1.2.3" || !strings.Contains(first.logged.String(), "[1/1] hello: compiling v1.2.3\n") {
		t.Errorf("the tool prints %q; the builder logged %q", got, first.logged)
	}
	if target, err := os.Readlink(filepath.Join(folder, "bin", "hello")); err != nil || target != path {
		t.Errorf("the link points to %s, want %s: %v", target, path, err)
	}
	compiled, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	second := on(folder, families, tinyTool("hello"))
	if second.Cold() {
		t.Error("Cold is true after the compilation")
	}
	if err := second.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept, err := os.Stat(second.path(t, "hello"))
	if err != nil || !os.SameFile(compiled, kept) || !kept.ModTime().Equal(compiled.ModTime()) || second.logged.Len() > 0 {
		t.Errorf("compiled again: %v; it logged %q", err, second.logged)
	}

	writeAll(t, families, map[string]string{"tiny/hello/main.go": strings.Replace(printsVersion, "print(version)", `print("changed")`, 1)})
	third := on(folder, families, tinyTool("hello"))
	if err := third.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := prints(t, filepath.Join(folder, "bin", "hello")); got != "changed" {
		t.Errorf("after its source changed, the tool prints %q", got)
	}
}

func TestCompileErrorReachesAllWaitingCallers(t *testing.T) {
	families, folder := tiny(t, map[string]string{"good": printsVersion, "broken": "package main\n\nfunc main() { undefinedName() }\n"}), t.TempDir()
	b := on(folder, families, tinyTool("good"), tinyTool("broken"), tinyTool("later"))
	waiting := make(chan error, 1)
	go func() {
		_, err := b.Path(context.Background(), "later")
		waiting <- err
	}()
	err := b.Run(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "compile broken: ") || !strings.Contains(err.Error(), "main.go:3:15: undefined: undefinedName") {
		t.Errorf("Run returns: %v", err)
	}
	if prints(t, b.path(t, "good")) != "v1.2.3" {
		t.Error("the previous tool isn't usable")
	}
	if _, got := b.Path(t.Context(), "broken"); !errors.Is(got, err) {
		t.Errorf("a caller that waits for the tool gets: %v", got)
	}
	select {
	case err := <-waiting:
		if err == nil || err.Error() != "not compiled, since broken failed" {
			t.Errorf("a caller that waits for a later tool gets: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a caller that waits for a later tool waits forever")
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "cache", "*")); len(left) != 1 {
		t.Errorf("the cache contains %v, want only the good tool", left)
	}
}

func TestUnknownToolIsAnError(t *testing.T) {
	if _, err := on(t.TempDir(), t.TempDir()).Path(t.Context(), "dockerd"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), `"dockerd"`) {
		t.Error(err)
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := on(t.TempDir(), t.TempDir(), tinyTool("hello")).Path(ctx, "hello"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestInterruptedCompileReturnsTheContextsError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	families := tiny(t, map[string]string{"hello": printsVersion})
	if err := on(t.TempDir(), families, tinyTool("hello")).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// onPATH puts a script with the name first on PATH, and returns its path.
func onPATH(t *testing.T, name, script string) string {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	return path
}

func TestToolOnPATH(t *testing.T) {
	families, folder := tiny(t, map[string]string{"hello": printsVersion}), t.TempDir()
	fitting := with(tinyTool("hello"), func(t *Tool) { t.Fits, t.VersionArgs = sameMinor, []string{"--version"} })
	for _, c := range []struct {
		name   string
		tool   Tool
		script string
		used   bool
	}{
		{"of a version that fits", fitting, `[ "$1" = --version ] && echo "hello version 1.2.9"`, true},
		{"of another version", fitting, `echo v1.3.0`, false},
		{"that prints no version", fitting, `echo hello`, false},
		{"that fails", fitting, `echo v1.2.3; exit 1`, false},
		{"that must be compiled", tinyTool("hello"), `echo v1.2.3`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			script := onPATH(t, "hello", c.script)
			b := on(folder, families, c.tool)
			if err := b.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			path := b.path(t, "hello")
			if (path == script) != c.used {
				t.Errorf("uses %s", path)
			}
			if c.used && b.logged.String() != " 0:00  [1/1] hello: using "+script+" (v1.2.9) from PATH\n" {
				t.Errorf("the log is %q", b.logged)
			}
			if target, _ := os.Readlink(filepath.Join(folder, "bin", "hello")); target != path {
				t.Errorf("the link points to %s, want %s", target, path)
			}
		})
	}
}

func TestOwnLinkOnPATHIsIgnored(t *testing.T) {
	families, folder := tiny(t, map[string]string{"hello": printsVersion}), t.TempDir()
	bin := filepath.Join(folder, "bin")
	stale := filepath.Join(t.TempDir(), "hello")
	writeAll(t, filepath.Dir(stale), map[string]string{"hello": "#!/bin/sh\necho v1.2.3\n"})
	if err := errors.Join(os.Chmod(stale, 0o755), os.MkdirAll(bin, 0o755), Link(stale, filepath.Join(bin, "hello"))); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	b := on(folder, families, with(tinyTool("hello"), func(t *Tool) { t.Fits = sameMinor }))
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if path := b.path(t, "hello"); !strings.HasPrefix(path, filepath.Join(folder, "cache")) {
		t.Errorf("uses %s", path)
	}
}

func TestFoldersOfAKilledCompileAreRemoved(t *testing.T) {
	families, folder := tiny(t, map[string]string{"hello": printsVersion}), t.TempDir()
	killed := exec.Command("true")
	if err := killed.Run(); err != nil {
		t.Fatal(err)
	}
	leftover := fmt.Sprintf("cache/%s%d-1/hello", workPrefix, killed.Process.Pid)
	underWay := fmt.Sprintf("cache/%s%d-1/hello", workPrefix, os.Getpid())
	const other = "cache/other-0123/other"
	writeAll(t, folder, map[string]string{leftover: "half", underWay: "half", other: "whole"})
	if err := on(folder, families, tinyTool("hello")).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{leftover: false, underWay: true, other: true} {
		if _, err := os.Stat(filepath.Join(folder, filepath.Dir(name))); (err == nil) != stays {
			t.Errorf("%s: %v, want it kept: %v", name, err, stays)
		}
	}
}

func TestToolEmbedsFilesOfItsModule(t *testing.T) {
	families := tiny(t, map[string]string{"hello": "package main\n\nimport _ \"embed\"\n\n//go:embed data.txt\nvar data string\n\nfunc main() { print(data) }\n"})
	// The module's folder is found by the name in the require directive.
	b := on(t.TempDir(), families, with(tinyTool("hello"), func(t *Tool) { t.Stamps, t.Embeds = nil, map[string]string{"data.txt": "data.txt"} }))
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := prints(t, b.path(t, "hello")); got != "embedded\n" {
		t.Errorf("the tool prints %q", got)
	}
}

// published publishes that version of the module in a proxy that is a folder.
func published(t *testing.T, module, version string, files map[string]string) {
	t.Helper()
	proxy := t.TempDir()
	var archive bytes.Buffer
	packed := zip.NewWriter(&archive)
	for name, content := range files {
		file, err := packed.Create(module + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	base := module + "/@v/" + version
	writeAll(t, proxy, map[string]string{
		base + ".info": fmt.Sprintf(`{"Version":%q}`, version), base + ".mod": files["go.mod"], base + ".zip": archive.String(),
	})
	for name, value := range map[string]string{
		"GOPROXY": "file://" + proxy, "GOSUMDB": "off", "GOMODCACHE": t.TempDir(), "GOFLAGS": "-modcacherw",
	} {
		t.Setenv(name, value)
	}
}

func TestModuleIsReplacedInPart(t *testing.T) {
	families := tiny(t, map[string]string{"hello": "package main\n\nimport \"example.com/whole/list\"\n\nfunc main() { print(list.Length()) }\n"})
	published(t, "example.com/whole", "v1.5.0", map[string]string{
		"go.mod": "module example.com/whole\n\ngo 1.26\n",
		"list/list.go": "package list\n\nimport (\n\t\"embed\"\n\n\t\"example.com/whole/items\"\n)\n\n" +
			"//go:embed testdata\nvar files embed.FS\n\nfunc Length() int {\n\tif _, err := files.ReadFile(\"testdata/one.txt\"); err != nil {\n\t\tpanic(err)\n\t}\n\treturn len(items.All())\n}\n",
		"list/testdata/one.txt": "one\n",
		"list/list_test.go":     "package list\n\nimport _ \"example.com/nowhere\"\n",
		"items/items.go":        "package items\n\nimport \"example.com/whole/items/many\"\n\nfunc All() []string { return many.Items }\n",
		"items/many/items.go":   "package many\n\nvar Items = []string{\"a\", \"b\"}\n",
	})
	pinned, err := os.ReadFile(filepath.Join(families, "tiny", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	writeAll(t, families, map[string]string{
		"tiny/go.mod":              string(pinned) + "\nrequire example.com/whole v1.5.0\n\nreplace example.com/whole => ./part\n",
		"tiny/part/go.mod":         "module example.com/whole\n\ngo 1.26\n",
		"tiny/part/items/items.go": "package items\n\nfunc All() []string { return nil }\n",
	})
	partial := with(tinyTool("hello"), func(t *Tool) {
		t.Stamps, t.Sources, t.Partial = nil, []string{"part/items"}, map[string]string{"part": "example.com/whole"}
	})
	b := on(t.TempDir(), families, partial)
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := prints(t, b.path(t, "hello")); got != "0" {
		t.Errorf("it prints %q: want the module's list, with the family's items", got)
	}
}

func TestToolOnDemandIsCompiledOnRequest(t *testing.T) {
	families, folder := tiny(t, map[string]string{"hello": printsVersion, "image": printsVersion}), t.TempDir()
	b := on(folder, families, tinyTool("hello"), with(tinyTool("image"), func(t *Tool) { t.OnDemand, t.Unlinked = true, true }))
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.Cold() || strings.Contains(b.logged.String(), "image") {
		t.Errorf("the tool was compiled without a request: %s", b.logged)
	}
	paths := make(chan string)
	for range 3 {
		go func() {
			path, err := b.Path(context.Background(), "image")
			if err != nil {
				path = err.Error()
			}
			paths <- path
		}()
	}
	first := <-paths
	if prints(t, first) != "v1.2.3" || <-paths != first || <-paths != first {
		t.Errorf("its path is %s", first)
	}
	if logged := b.logged.String(); strings.Count(logged, "[2/2] image: compiling v1.2.3\n") != 1 {
		t.Errorf("the builder logged %q", logged)
	}
}

func TestCompileErrorOfAToolOnDemand(t *testing.T) {
	families := tiny(t, map[string]string{"broken": "package main\n\nfunc main() { undefinedName() }\n"})
	b := on(t.TempDir(), families, with(tinyTool("broken"), func(t *Tool) { t.OnDemand = true }))
	if err := b.Run(t.Context()); err != nil {
		t.Errorf("without a request: %v", err)
	}
	for range 2 {
		if _, err := b.Path(t.Context(), "broken"); err == nil || !strings.HasPrefix(err.Error(), "compile broken: ") {
			t.Error(err)
		}
	}
}

func TestPluginIsInstalledInPulumisHome(t *testing.T) {
	families := tiny(t, map[string]string{"pulumi": printsVersion, "pulumi-resource-x": printsVersion})
	plugin := with(tinyTool("pulumi-resource-x"), func(t *Tool) { t.Plugin, t.Unlinked = Plugin{"x", "4.5.6"}, true })
	published := pluginHosts
	t.Cleanup(func() { pluginHosts = published })
	answers, silent := serve(t, nil).URL, "http://127.0.0.1:1/"
	const installs = `mkdir -p "$PULUMI_HOME/plugins/resource-x-v4.5.6" && printf '#!/bin/sh\nprintf "%s"' "$*" > "$PULUMI_HOME/plugins/resource-x-v4.5.6/pulumi-resource-x" && chmod +x "$PULUMI_HOME"/plugins/*/*`
	for _, c := range []struct {
		name, pulumi string
		hosts        []string
		want         string
	}{
		{"downloaded if possible", installs, []string{silent, answers}, "plugin install resource x 4.5.6"},
		{"compiled otherwise", `echo "error: 403 Forbidden" >&2; exit 255`, []string{answers}, "v1.2.3"},
		{"compiled if no host is reachable", installs, []string{silent}, "v1.2.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pluginHosts = c.hosts
			onPATH(t, "pulumi", `[ "$1" = version ] && echo v1.2.3 && exit; `+"\n"+c.pulumi)
			pulumi := with(tinyTool("pulumi"), func(t *Tool) { t.Fits, t.VersionArgs = sameMinor, []string{"version"} })
			folder := t.TempDir()
			b := on(folder, families, pulumi, plugin)
			if err := b.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := prints(t, filepath.Join(folder, "home", "plugins", "resource-x-v4.5.6", "pulumi-resource-x")); got != c.want {
				t.Errorf("it prints %q, want %q; the builder logged %s", got, c.want, b.logged)
			}
			if _, err := os.Lstat(filepath.Join(folder, "bin", "pulumi-resource-x")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the plugin is also on PATH: %v", err)
			}
		})
	}
}

func TestLinkReplacesAtomically(t *testing.T) {
	folder := t.TempDir()
	name := filepath.Join(folder, "tool")
	targets := []string{filepath.Join(folder, "a"), filepath.Join(folder, "b")}
	writeAll(t, folder, map[string]string{"a": "", "b": ""})
	if err := os.Symlink("/left/by/a/killed/run", name+".new"); err != nil {
		t.Fatal(err)
	}
	if err := Link(targets[0], name); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		var faults []error
		for i := range 500 {
			faults = append(faults, Link(targets[i%2], name))
		}
		done <- errors.Join(faults...)
	}()
	for {
		if _, err := os.Stat(name); err != nil {
			t.Fatalf("a reader found no tool: %v", err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if target, err := os.Readlink(name); err != nil || target != targets[1] {
				t.Errorf("the link leads to %s: %v", target, err)
			}
			if entries, _ := os.ReadDir(folder); len(entries) != 3 {
				t.Errorf("remaining files: %v", entries)
			}
			return
		default:
		}
	}
}

func TestLinkErrorNamesTheLink(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none", "tool")
	if err := Link("/a", name); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("link %s: ", name)) {
		t.Error(err)
	}
}
