// Package toolchain provides the programs of the local platform: a suitable program on PATH, one downloaded from a pinned release, or
// one compiled from the pinned modules in the folders beside this file. Each folder is a family of tools with its own go.mod, outside
// the workspace, because the dependencies of different families conflict. tools.yml lists the tools, and releases.txt the releases.
package toolchain

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
	"gopkg.in/yaml.v3"
)

// Tool is a program that can be compiled from a family's modules.
type Tool struct {
	Name    string   // the program's file name
	Family  string   // the folder whose go.mod pins the tool
	Package string   // the import path, or ./<folder> for one of our own main packages
	Sources []string // more folders of the family that are compiled into the tool
	Module  string   // the module whose version is the tool's version
	// Stamps are linker variables for the version. In their values, {version}, {number} (without the v), {major} and
	// {minor} are replaced.
	Stamps      map[string]string
	Fits        Fits              // nil: always compile
	VersionArgs []string          `yaml:"versionArgs"` // make the program print its version
	Embeds      map[string]string // maps the files that one of our main packages embeds to paths in the tool's module
	// Partial maps a folder of the family to the module that the family's go.mod replaces by it. The folder contains only the
	// packages that differ.
	Partial  map[string]string
	Plugin   Plugin // Pulumi can download it instead, if it has internet access
	OnDemand bool   `yaml:"onDemand"` // provide the tool when its path is first requested, because a caller may find a replacement
	Unlinked bool   // put no link to the tool into the folder on PATH
	// Numbering is prometheus if the version follows from that of the module as for Prometheus. If it is empty, both are the same.
	Numbering string
}

// LanguageHost is the file name of Pulumi's language host for Go.
const LanguageHost = "pulumi-language-go"

// NodeTools returns the tools of the one-node Kubernetes cluster, in the order in which it needs them.
func NodeTools() []Tool { return toolsFor("node") }

// PulumiTools returns the tools that run the Pulumi program, Pulumi first.
func PulumiTools() []Tool { return toolsFor("pulumi") }

// Traefik is the public entry of the platform.
func Traefik() Tool { return toolsFor("edge")[0] }

// MonitoringTools returns the programs of the monitoring and of the stores, and cosign.
func MonitoringTools() []Tool { return toolsFor("monitoring") }

//go:embed tools.yml
var toolsFile string

// toolsFor returns one of the lists in tools.yml.
func toolsFor(purpose string) []Tool {
	var lists map[string][]Tool
	decoder := yaml.NewDecoder(strings.NewReader(toolsFile))
	decoder.KnownFields(true)
	if err := decoder.Decode(&lists); err != nil {
		panic(err) // the file is embedded
	}
	return lists[purpose]
}

// prometheusRelease returns the release of a version of Prometheus' module: v0.309.1 is v3.9.1 (its README, "Prometheus code base").
func prometheusRelease(version string) string {
	_, minor := majorMinor(version)
	patch := strings.TrimPrefix(version, semver.MajorMinor(version))
	return fmt.Sprintf("v%d.%d%s", minor/100, minor%100, patch)
}

// Fits reports whether a program on PATH with version have can replace the pinned version want, both canonical ("v1.34.2").
type Fits func(have, want string) bool

// UnmarshalYAML reads the name of one of the following functions.
func (f *Fits) UnmarshalYAML(name *yaml.Node) error {
	*f = map[string]Fits{"sameMinor": sameMinor, "withinOneMinor": withinOneMinor, "notOlder": notOlder}[name.Value]
	if *f == nil {
		return fmt.Errorf("line %d: fits: there is no function %q", name.Line, name.Value)
	}
	return nil
}

func sameMinor(have, want string) bool { return semver.MajorMinor(have) == semver.MajorMinor(want) }

// notOlder requires the same major version, too.
func notOlder(have, want string) bool {
	return semver.Compare(have, want) >= 0 && semver.Major(have) == semver.Major(want)
}

// withinOneMinor is the version skew that Kubernetes supports between kubectl and
// the API server (kubernetes.io/releases/version-skew-policy).
func withinOneMinor(have, want string) bool {
	haveMajor, haveMinor := majorMinor(have)
	wantMajor, wantMinor := majorMinor(want)
	return haveMajor == wantMajor && haveMinor-wantMinor <= 1 && wantMinor-haveMinor <= 1
}

func majorMinor(version string) (major, minor int) {
	_, _ = fmt.Sscanf(semver.MajorMinor(version), "v%d.%d", &major, &minor)
	return major, minor
}

// version returns the version of the tool's module in its family's go.mod.
func (t Tool) version(families string) (string, error) {
	path := filepath.Join(families, t.Family, "go.mod")
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("tool %s: %w", t.Name, err)
	}
	file, err := modfile.ParseLax(path, content, nil)
	if err != nil {
		return "", fmt.Errorf("tool %s: %w", t.Name, err)
	}
	for _, require := range file.Require {
		if require.Mod.Path == t.Module {
			return require.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("tool %s: %s does not require %s", t.Name, path, t.Module)
}

// Release returns the version that the tool reports, with a v.
func (t Tool) Release(families string) (string, error) {
	version, err := t.version(families)
	return t.released(version), err
}

func (t Tool) released(version string) string {
	if t.Numbering == "prometheus" {
		return prometheusRelease(version)
	}
	return version
}

// ldflags strips debug information and sets the version.
func (t Tool) ldflags(version string) string {
	version = t.released(version)
	major, minor := majorMinor(version)
	values := strings.NewReplacer("{version}", version, "{number}", strings.TrimPrefix(version, "v"), "{major}", fmt.Sprint(major), "{minor}", fmt.Sprint(minor))
	flags := []string{"-s", "-w"}
	for variable, value := range t.Stamps {
		flags = append(flags, "-X "+variable+"="+values.Replace(value))
	}
	slices.Sort(flags)
	return strings.Join(flags, " ")
}

// goRelease returns the release of the go command, such as go1.26.8, which compiles the tools: no family's go.mod names another one.
var goRelease = sync.OnceValues(func() (string, error) {
	command := exec.Command("go", "env", "GOVERSION")
	command.Dir = os.TempDir() // a go.mod could name another release
	release, err := command.Output()
	return strings.TrimSpace(string(release)), err
})

// key returns a hash of everything that the tool is compiled from.
func (t Tool) key(families, version string) (string, error) {
	release, err := goRelease()
	if err != nil {
		return "", fmt.Errorf("tool %s: find the release of Go: %w", t.Name, err)
	}
	hash := sha256.New()
	fmt.Fprintln(hash, release, runtime.GOOS, runtime.GOARCH, t.Package, t.ldflags(version))
	dir := filepath.Join(families, t.Family)
	files := []string{filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")}
	for _, folder := range slices.Sorted(maps.Keys(t.Partial)) {
		fmt.Fprintln(hash, folder, t.Partial[folder])
		files = append(files, filepath.Join(dir, folder, "go.mod"))
	}
	sources := t.Sources
	if strings.HasPrefix(t.Package, "./") {
		sources = append([]string{t.Package}, sources...)
	}
	for _, folder := range sources {
		found, err := filepath.Glob(filepath.Join(dir, folder, "*.go"))
		if err != nil {
			return "", fmt.Errorf("tool %s: %w", t.Name, err)
		}
		files = append(files, found...)
	}
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("tool %s: %w", t.Name, err)
		}
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}
