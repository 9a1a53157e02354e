package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"platform.example/local/progress"
	"platform.example/local/reach"
	"platform.example/local/toolchain"
)

// compiler is a fake toolchain that records the requested tools. It has one program or returns an error.
type compiler struct {
	*reach.Hosts
	path      string
	err       error
	requested []string
}

func (c *compiler) Path(_ context.Context, name string) (string, error) {
	c.requested = append(c.requested, name)
	return c.path, c.err
}

// online returns a toolchain without tools.
func online() *compiler { return having("", nil) }

func having(path string, err error) *compiler {
	return &compiler{Hosts: reach.New(time.Minute, progress.New(io.Discard)), path: path, err: err}
}

func provideTraefik(t *testing.T, r *watched, upstream Upstream, tools Tools) (logged string, err error) {
	t.Helper()
	upstream.Name = "traefik"
	var out bytes.Buffer
	_, err = Provide(t.Context(), r.host, t.TempDir(), upstream, tools, progress.New(&out))
	return out.String(), err
}

func TestProvideBuildsAnImageFromItsProgram(t *testing.T) {
	ours := serve(t)
	tools := having(program(t, "binary"), nil)
	upstream := Upstream{Image: "registry.invalid/library/traefik:v3.6.2", Digest: "sha256:" + strings.Repeat("0", 64)}
	if logged, err := provideTraefik(t, ours, upstream, tools); err != nil || !strings.Contains(logged, upstream.Image+": can't be pulled") {
		t.Fatalf("%v; logged %q", err, logged)
	}
	built := get(t, ours.host+"/library/traefik:v3.6.2")
	config, err := built.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/usr/local/bin/traefik"}) {
		t.Errorf("configuration %+v", config.Config)
	}
	files := filesOf(t, built)
	if program := files["usr/local/bin/traefik"]; program.mode != 0o755 || program.content != "binary" {
		t.Errorf("the program is %+v", program)
	}
	if roots := files["etc/ssl/certs/ca-certificates.crt"]; roots.mode != 0o644 || !x509.NewCertPool().AppendCertsFromPEM([]byte(roots.content)) {
		t.Errorf("the certificate authorities, mode %o, are %.80q", roots.mode, roots.content)
	}
	if len(files) != 2 {
		t.Errorf("the image contains %d files", len(files))
	}

	ours.writes()
	if logged, err := provideTraefik(t, ours, upstream, tools); err != nil || logged != "" || len(ours.writes()) > 0 || len(tools.requested) != 1 {
		t.Errorf("an existing image was built again: %v; logged %q; compiled %v", err, logged, tools.requested)
	}
}

// file is a file in an image.
type file struct {
	mode    int64
	content string
}

func filesOf(t *testing.T, image v1.Image) map[string]file {
	t.Helper()
	files := map[string]file{}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		defer content.Close()
		for archive := tar.NewReader(content); ; {
			header, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			files[header.Name] = file{header.Mode, string(text)}
		}
	}
	return files
}

func TestImageOfSeveralProgramsRunsTheFirst(t *testing.T) {
	ours := serve(t)
	tools := having(program(t, "binary"), nil)
	upstream := Upstream{Name: "prometheus", Image: "registry.invalid/prom/prometheus:v3"}
	if _, err := Provide(t.Context(), ours.host, t.TempDir(), upstream, tools, progress.New(io.Discard)); err != nil {
		t.Fatal(err)
	}
	built := get(t, ours.host+"/prom/prometheus:v3")
	config, err := built.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(config.Config.Entrypoint, []string{"/bin/prometheus"}) {
		t.Errorf("the entrypoint is %v", config.Config.Entrypoint)
	}
	for _, name := range []string{"prometheus", "promtool"} {
		if filesOf(t, built)["bin/"+name].content != "binary" || !slices.Contains(tools.requested, name) {
			t.Errorf("the image lacks %s; compiled %v", name, tools.requested)
		}
	}
}

// The operator copies the program of its own architecture into the pods of Postgres.
func TestImageOfTheOperatorHasItsProgramUnderTwoNames(t *testing.T) {
	ours := serve(t)
	tools := having(program(t, "binary"), nil)
	upstream := Upstream{Name: "cloudnative-pg", Image: "registry.invalid/cloudnative-pg/cloudnative-pg:1.30.0"}
	if _, err := Provide(t.Context(), ours.host, t.TempDir(), upstream, tools, progress.New(io.Discard)); err != nil {
		t.Fatal(err)
	}
	files := filesOf(t, get(t, ours.host+"/cloudnative-pg/cloudnative-pg:1.30.0"))
	for _, place := range []string{"manager", "operator/manager_" + runtime.GOARCH} {
		if files[place].content != "binary" {
			t.Errorf("the image lacks %s", place)
		}
	}
	if slices.ContainsFunc(tools.requested, func(name string) bool { return name != "manager" }) {
		t.Errorf("it compiles %v, want manager alone", tools.requested)
	}
}

func TestProvideCompilesNothingForAnAvailableImage(t *testing.T) {
	ours, theirs := serve(t), serve(t)
	tag := theirs.host + "/library/traefik:v3.6.2"
	pinned, amd64 := upstreamIndex(t, tag)
	tools := having("", errors.New("compiled for nothing"))
	if logged, err := provideTraefik(t, ours, Upstream{Image: tag, Digest: digest(t, pinned)}, tools); err != nil || !strings.Contains(logged, tag+": pulled") {
		t.Fatalf("%v; logged %q", err, logged)
	}
	if got := get(t, ours.host+"/library/traefik:v3.6.2"); digest(t, got) != digest(t, amd64) || len(tools.requested) > 0 {
		t.Errorf("the registry returns %s, want the pinned %s; compiled %v", digest(t, got), digest(t, amd64), tools.requested)
	}
}

func TestCompileErrorNamesTheImage(t *testing.T) {
	ours := serve(t)
	broken := errors.New("compile traefik: exit status 1")
	_, err := provideTraefik(t, ours, Upstream{Image: "registry.invalid/library/traefik:v3.6.2"}, having("", broken))
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "image registry.invalid/library/traefik:v3.6.2: ") {
		t.Error(err)
	}
	if sent := ours.writes(); len(sent) > 0 {
		t.Errorf("something was pushed: %v", sent)
	}
}

func TestRegistriesAreProbedOnceAndInParallel(t *testing.T) {
	ours, tools := serve(t), having(program(t, "binary"), nil)
	var (
		mu     sync.Mutex
		probes = map[string]int{}
		both   = make(chan struct{})
		logged bytes.Buffer
	)
	failing := func() string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if probes[r.Host]++; len(probes) == 2 && probes[r.Host] == 1 {
				close(both)
			}
			mu.Unlock()
			select {
			case <-both: // no probe fails before the other one has begun
			case <-r.Context().Done():
			}
			w.WriteHeader(http.StatusBadGateway)
		}))
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://")
	}
	first, second := failing(), failing()
	upstreams := []Upstream{
		{Name: "traefik", Image: first + "/library/traefik:v3"}, {Name: "prometheus", Image: first + "/prom/prometheus:v3"},
		{Name: "node-exporter", Image: second + "/prom/node-exporter:v1"},
	}
	tools.Hosts = reach.New(time.Minute, progress.New(&logged))
	var probing sync.WaitGroup
	for _, upstream := range upstreams {
		probing.Go(func() { Probe(t.Context(), ours.host, upstream, tools) })
	}
	probing.Wait()
	select {
	case <-both:
	default:
		t.Fatal("the second registry was probed after the first one")
	}
	for _, upstream := range upstreams {
		if provided, err := Provide(t.Context(), ours.host, t.TempDir(), upstream, tools, progress.New(io.Discard)); !provided || err != nil {
			t.Errorf("%s: provided %v, %v", upstream.Name, provided, err)
		}
	}
	if probes[first] != 1 || probes[second] != 1 || strings.Count(logged.String(), "can't be reached") != 2 {
		t.Errorf("probes %v; logged %s", probes, logged.String())
	}
}

func TestRegistryOfAnExistingImageIsNotProbed(t *testing.T) {
	ours, theirs := serve(t), serve(t)
	upstream := Upstream{Name: "thing", Image: theirs.host + "/library/thing:1"}
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := push(t.Context(), ours.host+"/library/thing:1", image); err != nil {
		t.Fatal(err)
	}
	Probe(t.Context(), ours.host, upstream, online())
	if _, err := Provide(t.Context(), ours.host, t.TempDir(), upstream, online(), progress.New(io.Discard)); err != nil || len(theirs.requests) > 0 {
		t.Errorf("%v; requests %v", err, theirs.requests)
	}
}

// The list is the contract with the program that uses the images: every required image must have a way to build it.
func TestEveryRequiredImageCanBeBuilt(t *testing.T) {
	pinned, err := ReadUpstreams(filepath.Join("..", "..", "infra", "image", "upstream.json"))
	if err != nil {
		t.Fatal(err)
	}
	programImages := map[string]bool{}
	for _, upstream := range pinned {
		_, isProgram := programs[upstream.Name]
		_, isRecipe := recipes[upstream.Name]
		if built := isProgram || isRecipe; built == (upstream.Optional != "") {
			t.Errorf("%s: can be built: %v, but optional is %q", upstream.Name, built, upstream.Optional)
		}
		programImages[upstream.Name] = true
	}
	for name := range programs {
		if !programImages[name] {
			t.Errorf("the program uses no image %s", name)
		}
	}
}

// A built image replaces the official one of the same tag, so its programs must have the same version.
func TestCompiledVersionsMatchThePinnedTags(t *testing.T) {
	pinned, err := ReadUpstreams(filepath.Join("..", "..", "infra", "image", "upstream.json"))
	if err != nil {
		t.Fatal(err)
	}
	tools := map[string]toolchain.Tool{}
	for _, tool := range append(toolchain.MonitoringTools(), toolchain.Traefik()) {
		tools[tool.Name] = tool
	}
	for _, upstream := range pinned {
		_, tag, _ := strings.Cut(upstream.Image, ":")
		for _, place := range programs[upstream.Name] {
			name := strings.TrimSuffix(path.Base(place), "_"+runtime.GOARCH)
			tool, known := tools[name]
			if !known {
				t.Errorf("%s: no tool is called %s", upstream.Name, name)
				continue
			}
			version, err := tool.Release(filepath.Join("..", "toolchain"))
			if err != nil || strings.TrimPrefix(version, "v") != strings.TrimPrefix(tag, "v") {
				t.Errorf("%s is built from %s %s, %v", upstream.Image, tool.Name, version, err)
			}
		}
	}
}

// pg_upgrade runs the programs of version 15 in the image of version 17, so that one has the libraries of their release of Debian.
func TestImageOfTheNextPostgresRunsTheProgramsOfTheFormerOne(t *testing.T) {
	former, next := recipes["postgres"].arguments(), recipes["postgres-17"].arguments()
	if release := former[len(former)-1]; release != "bookworm" || next[len(next)-1] != "trixie" {
		t.Errorf("the images are of %s and %s", release, next[len(next)-1])
	}
	all := strings.Join(next, "\n")
	for _, want := range []string{"debian " + former[len(former)-1] + " main' > ", "libicu72", "libldap-2.5-0", "postgresql-17"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
}
