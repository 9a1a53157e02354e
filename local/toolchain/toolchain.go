// Package toolchain provides the programs of the local platform: a suitable program on PATH, one downloaded from a pinned release, or
// one compiled from the pinned modules in the folders beside this file. Each folder is a family of tools with its own go.mod, outside
// the workspace, because the dependencies of different families conflict. releases.txt lists the releases.
package toolchain

import (
	"crypto/sha256"
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
	Stamps map[string]string
	// Fits reports whether a program on PATH with version have can replace the pinned version want, both canonical
	// ("v1.34.2"). Nil: always compile.
	Fits        func(have, want string) bool
	VersionArgs []string          // make the program print its version
	Embeds      map[string]string // maps the files that one of our main packages embeds to paths in the tool's module
	// Partial maps a folder of the family to the module that the family's go.mod replaces by it. The folder contains only the
	// packages that differ.
	Partial  map[string]string
	Plugin   Plugin // Pulumi can download it instead, if it has internet access
	OnDemand bool   // provide the tool when its path is first requested, because a caller may find a replacement
	Unlinked bool   // put no link to the tool into the folder on PATH

	release func(version string) string // the tool's version for a version of the module; nil: the same
}

var kubernetesStamps = map[string]string{
	"k8s.io/component-base/version.gitVersion":   "{version}",
	"k8s.io/component-base/version.gitMajor":     "{major}",
	"k8s.io/component-base/version.gitMinor":     "{minor}",
	"k8s.io/component-base/version.gitTreeState": "clean",
}

func kubernetes(name string, fits func(have, want string) bool) Tool {
	return Tool{
		Name: name, Family: "kubernetes", Package: "k8s.io/kubernetes/cmd/" + name, Module: "k8s.io/kubernetes",
		Stamps: kubernetesStamps, Fits: fits, VersionArgs: []string{"--version"},
	}
}

// NodeTools returns the tools of the one-node Kubernetes cluster, in the order in which it needs them.
func NodeTools() []Tool {
	kubectl := kubernetes("kubectl", withinOneMinor)
	kubectl.VersionArgs = []string{"version", "--client"}
	return []Tool{
		{Name: "registry", Family: "kubernetes", Package: "./registry", Module: "github.com/distribution/distribution/v3",
			Fits: sameMinor, VersionArgs: []string{"--version"}},
		{Name: "etcd", Family: "kubernetes", Package: "go.etcd.io/etcd/server/v3", Module: "go.etcd.io/etcd/server/v3",
			Fits: sameMinor, VersionArgs: []string{"--version"}},
		kubernetes("kube-apiserver", sameMinor),
		kubernetes("kube-controller-manager", sameMinor),
		kubernetes("kube-scheduler", sameMinor),
		kubernetes("kubelet", sameMinor),
		kubernetes("kube-proxy", sameMinor),
		kubectl,
		{Name: "kube-router", Family: "kubernetes", Package: "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
			Module: "github.com/cloudnativelabs/kube-router/v2"},
		{Name: "storage-provisioner", Family: "kubernetes", Package: "./storage-provisioner",
			Module: "sigs.k8s.io/sig-storage-lib-external-provisioner/v13"},
		// These two run in images without a C library, so a program on PATH never fits.
		{Name: "coredns", Family: "kubernetes", Package: "./coredns", Module: "github.com/coredns/coredns"},
		{Name: "metrics-server", Family: "kubernetes", Package: "sigs.k8s.io/metrics-server/cmd/metrics-server",
			Module: "sigs.k8s.io/metrics-server"},
	}
}

// PulumiTools returns the tools that run the Pulumi program.
func PulumiTools() []Tool {
	return []Tool{Pulumi(), languageHost(), KubernetesProvider()}
}

// Pulumi is the Pulumi command line.
func Pulumi() Tool {
	return Tool{
		Name: "pulumi", Family: "pulumi", Package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", Module: "github.com/pulumi/pulumi/pkg/v3",
		Stamps: map[string]string{"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": "{version}"},
		// Later versions read the state that the pinned one writes: 3.257 and later refuse only state without projects.
		Fits: func(have, want string) bool {
			return semver.Compare(have, want) >= 0 && semver.Major(have) == semver.Major(want)
		},
		VersionArgs: []string{"version"},
	}
}

// LanguageHost is the file name of Pulumi's language host for Go.
const LanguageHost = "pulumi-language-go"

// languageHost is no longer part of the SDK's module after v3.66.0, the last version that can be compiled as a module. It is never
// downloaded: the host in Pulumi's release compiles the program at every run, because it ignores the flag -binary.
func languageHost() Tool {
	return Tool{Name: LanguageHost, Family: "pulumi-language-go", Unlinked: true,
		Package: "github.com/pulumi/pulumi/sdk/v3/go/pulumi-language-go", Module: "github.com/pulumi/pulumi/sdk/v3"}
}

// KubernetesProviderVersion is the release of the provider's pinned commit; the program's SDK has the same version.
const KubernetesProviderVersion = "4.24.1"

// KubernetesProvider is Pulumi's plugin for Kubernetes.
func KubernetesProvider() Tool {
	return Tool{
		Name: "pulumi-resource-kubernetes", Family: "pulumi", Package: "./pulumi-resource-kubernetes",
		Sources: []string{"sdk/go/kubernetes", "sdk/go/kubernetes/yaml/v2", "sdk/go/kubernetes/helm/v4"},
		Module:  "github.com/pulumi/pulumi-kubernetes/provider/v4",
		Stamps:  map[string]string{"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version.Version": KubernetesProviderVersion},
		Embeds: map[string]string{
			"schema.json":            "cmd/pulumi-resource-kubernetes/schema.json",
			"terraform-mapping.json": "cmd/pulumi-resource-kubernetes/terraform-mapping.json",
		},
		Plugin: Plugin{Name: "kubernetes", Version: KubernetesProviderVersion}, Unlinked: true,
	}
}

// Traefik runs in a pod, in an image built from it if the official one can't be pulled. Most of its code would be clients of DNS
// providers for ACME, which the platform doesn't use; the folder lego replaces them.
func Traefik() Tool {
	return Tool{
		Name: "traefik", Family: "traefik", Package: "github.com/traefik/traefik/v3/cmd/traefik", Module: "github.com/traefik/traefik/v3",
		Sources: []string{"lego/providers/dns"}, Partial: map[string]string{"lego": "github.com/go-acme/lego/v4"},
		Stamps:   map[string]string{"github.com/traefik/traefik/v3/pkg/version.Version": "{version}"},
		Unlinked: true, OnDemand: true,
	}
}

// prometheusRelease returns the release of a version of Prometheus' module: v0.309.1 is v3.9.1 (its README, "Prometheus code base").
func prometheusRelease(version string) string {
	_, minor := majorMinor(version)
	patch := strings.TrimPrefix(version, semver.MajorMinor(version))
	return fmt.Sprintf("v%d.%d%s", minor/100, minor%100, patch)
}

// commonVersion is the variable that contains the version of programs of the Prometheus project.
const commonVersion = "github.com/prometheus/common/version.Version"

// MonitoringTools run in pods, too, in images built from them if the official ones can't be pulled. Most of Prometheus' code would
// be clients of two dozen clouds, for service discovery; the folder prometheus replaces their list.
func MonitoringTools() []Tool {
	tool := func(name, path, module, stamp, version string) Tool {
		return Tool{Name: name, Family: "monitoring", Package: path, Module: module,
			Stamps: map[string]string{stamp: version}, Unlinked: true, OnDemand: true}
	}
	const (
		prometheus   = "github.com/prometheus/prometheus"
		alertmanager = "github.com/prometheus/alertmanager"
		states       = "k8s.io/kube-state-metrics/v2"
		node         = "github.com/prometheus/node_exporter"
		postgres     = "github.com/prometheus-community/postgres_exporter"
		redis        = "github.com/oliver006/redis_exporter"
	)
	part := func(tool Tool) Tool {
		tool.release = prometheusRelease
		tool.Sources, tool.Partial = []string{"prometheus/plugins"}, map[string]string{"prometheus": prometheus}
		return tool
	}
	return []Tool{
		part(tool("prometheus", prometheus+"/cmd/prometheus", prometheus, commonVersion, "{number}")),
		part(tool("promtool", prometheus+"/cmd/promtool", prometheus, commonVersion, "{number}")),
		tool("alertmanager", alertmanager+"/cmd/alertmanager", alertmanager, commonVersion, "{number}"),
		tool("amtool", alertmanager+"/cmd/amtool", alertmanager, commonVersion, "{number}"),
		tool("kube-state-metrics", states, states, commonVersion, "{version}"),
		tool("node_exporter", node, node, commonVersion, "{number}"),
		tool("postgres_exporter", postgres+"/cmd/postgres_exporter", postgres, commonVersion, "{number}"),
		tool("redis_exporter", redis, redis, "main.BuildVersion", "{version}"),
		// It also runs in each instance of Postgres.
		{Name: "manager", Family: "cloudnative-pg", Package: "github.com/cloudnative-pg/cloudnative-pg/cmd/manager",
			Module: "github.com/cloudnative-pg/cloudnative-pg", Unlinked: true, OnDemand: true},
		{Name: "versitygw", Family: "versitygw", Package: "github.com/versity/versitygw/cmd/versitygw", Module: "github.com/versity/versitygw",
			Stamps: map[string]string{"main.Version": "{version}"}, Unlinked: true, OnDemand: true},
		// These read their versions from their build information.
		{Name: "cosign", Family: "cosign", Package: "github.com/sigstore/cosign/v3/cmd/cosign", Module: "github.com/sigstore/cosign/v3",
			Unlinked: true, OnDemand: true},
		{Name: "otelcol-contrib", Family: "monitoring", Package: "./otel-collector", Module: "go.opentelemetry.io/collector/otelcol",
			Unlinked: true, OnDemand: true},
	}
}

func sameMinor(have, want string) bool { return semver.MajorMinor(have) == semver.MajorMinor(want) }

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
	if t.release == nil {
		return version
	}
	return t.release(version)
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
