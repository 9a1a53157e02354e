package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"platform.example/local/progress"
)

// watched is an in-process registry that records its requests.
type watched struct {
	host string

	mu       sync.Mutex
	requests []string
}

func serve(t *testing.T) *watched {
	t.Helper()
	w := &watched{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.requests = append(w.requests, r.Method+" "+r.URL.Path)
		w.mu.Unlock()
		handler.ServeHTTP(out, r)
	}))
	t.Cleanup(server.Close)
	w.host = strings.TrimPrefix(server.URL, "http://")
	return w
}

// writes returns the modifying requests since the last call.
func (w *watched) writes() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, request := range w.requests {
		if !strings.HasPrefix(request, http.MethodGet) && !strings.HasPrefix(request, http.MethodHead) {
			list = append(list, request)
		}
	}
	w.requests = nil
	return list
}

func get(t *testing.T, reference string) v1.Image {
	t.Helper()
	parsed, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(parsed, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digest(t *testing.T, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	hash, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

func program(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func pushProgram(t *testing.T, repository, path string) string {
	t.Helper()
	reference, err := PushProgram(t.Context(), repository, path)
	if err != nil {
		t.Fatal(err)
	}
	return reference
}

func TestPushProgramPushesAnImageOfOneFile(t *testing.T) {
	r := serve(t)
	reference := pushProgram(t, r.host+"/platform/pause", program(t, "binary"))
	image := get(t, reference)
	if want := r.host + "/platform/pause@" + digest(t, image); reference != want {
		t.Errorf("reference %s, want %s", reference, want)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "amd64" || config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/pause"}) {
		t.Errorf("configuration %s/%s %+v", config.OS, config.Architecture, config.Config)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	archive := tar.NewReader(content)
	header, err := archive.Next()
	if err != nil || header.Name != "pause" || header.Mode != 0o755 || header.Uid != 0 {
		t.Fatalf("first file %+v, %v", header, err)
	}
	if file, err := io.ReadAll(archive); err != nil || string(file) != "binary" {
		t.Errorf("the file contains %q, %v", file, err)
	}
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("the image contains more than the file: %v", err)
	}
}

func TestPushProgramSendsTheSameProgramOnce(t *testing.T) {
	r := serve(t)
	repository := r.host + "/platform/pause"
	first := pushProgram(t, repository, program(t, "one"))
	if len(r.writes()) == 0 {
		t.Fatal("the first push sent nothing")
	}
	if again := pushProgram(t, repository, program(t, "one")); again != first {
		t.Errorf("%s, was %s", again, first)
	}
	if sent := r.writes(); len(sent) > 0 {
		t.Errorf("the second push sent %v", sent)
	}
	if other := pushProgram(t, repository, program(t, "two")); other == first || len(r.writes()) == 0 {
		t.Errorf("another program is %s, was %s", other, first)
	}
}

func TestPushProgramErrors(t *testing.T) {
	r := serve(t)
	missing := filepath.Join(t.TempDir(), "none")
	if _, err := PushProgram(t.Context(), r.host+"/pause", missing); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "image of "+missing) {
		t.Errorf("missing program: %v", err)
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	if _, err := PushProgram(t.Context(), strings.TrimPrefix(closed.URL, "http://")+"/pause", program(t, "x")); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("unreachable registry: %v", err)
	}
}

func TestMirroredNames(t *testing.T) {
	for reference, want := range map[string]string{
		"docker.io/library/postgres:15":           "127.0.0.1:5100/library/postgres:15",
		"postgres:15":                             "127.0.0.1:5100/library/postgres:15",
		"postgres":                                "127.0.0.1:5100/library/postgres:latest",
		"docker.io/bitnami/redis:7.2":             "127.0.0.1:5100/bitnami/redis:7.2",
		"quay.io/prometheus/node-exporter:v1.9.1": "127.0.0.1:5100/prometheus/node-exporter:v1.9.1",
		"registry.example:5000/a/b/c:1":           "127.0.0.1:5100/a/b/c:1",
	} {
		if got, err := mirrored("127.0.0.1:5100", reference); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", reference, got, err, want)
		}
	}
	if _, err := mirrored("127.0.0.1:5100", "Not A Name"); err == nil || !strings.Contains(err.Error(), "Not A Name") {
		t.Errorf("invalid name: %v", err)
	}
}

func TestReadUpstreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "upstream.json")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`[{"name": "redis", "image": "docker.io/library/redis:7", "digest": "sha256:abc"},
		{"name": "grafana", "image": "docker.io/grafana/grafana:12", "digest": "sha256:def", "optional": "monitoring.grafana"}]`)
	want := []Upstream{
		{Name: "redis", Image: "docker.io/library/redis:7", Digest: "sha256:abc"},
		{Name: "grafana", Image: "docker.io/grafana/grafana:12", Digest: "sha256:def", Optional: "monitoring.grafana"},
	}
	if got, err := ReadUpstreams(path); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	write(`[{]`)
	if _, err := ReadUpstreams(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("not JSON: %v", err)
	}
}

// upstreamIndex pushes an image index for several platforms, and returns it and the image for amd64.
func upstreamIndex(t *testing.T, reference string) (index v1.ImageIndex, amd64 v1.Image) {
	t.Helper()
	index = empty.Index
	for _, architecture := range []string{"arm64", "amd64"} {
		image, err := random.Image(64, 1)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
		amd64 = image
	}
	parsed, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(parsed, index); err != nil {
		t.Fatal(err)
	}
	return index, amd64
}

func provideInto(t *testing.T, r *watched, cache string, upstream Upstream) (logged string, err error) {
	t.Helper()
	var out bytes.Buffer
	provided, err := Provide(t.Context(), r.host, cache, upstream, online(), progress.New(&out))
	if provided != (err == nil) {
		t.Errorf("Provide returns %v with error %v", provided, err)
	}
	return out.String(), err
}

func TestProvidePullsThePinnedDigest(t *testing.T) {
	ours, theirs := serve(t), serve(t)
	tag := theirs.host + "/library/thing:1"
	pinned, amd64 := upstreamIndex(t, tag)
	upstreamIndex(t, tag) // the tag now points to another digest
	logged, err := provideInto(t, ours, t.TempDir(), Upstream{Name: "thing", Image: tag, Digest: digest(t, pinned)})
	if err != nil || !strings.Contains(logged, "image "+tag+": pulled") {
		t.Fatalf("%v; logged %q", err, logged)
	}
	if got := get(t, ours.host+"/library/thing:1"); digest(t, got) != digest(t, amd64) {
		t.Errorf("the registry returns %s, want the pinned image for amd64, %s", digest(t, got), digest(t, amd64))
	}

	ours.writes()
	if logged, err := provideInto(t, ours, t.TempDir(), Upstream{Name: "thing", Image: tag, Digest: digest(t, pinned)}); err != nil || logged != "" || len(ours.writes()) > 0 {
		t.Errorf("an existing image was provided again: %v; logged %q", err, logged)
	}
}

func TestProvideNeedsNoUpstreamForAnExistingImage(t *testing.T) {
	ours := serve(t)
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := push(t.Context(), ours.host+"/library/thing:1", image); err != nil {
		t.Fatal(err)
	}
	if logged, err := provideInto(t, ours, t.TempDir(), Upstream{Name: "thing", Image: "registry.invalid/library/thing:1"}); err != nil || logged != "" {
		t.Errorf("%v; logged %q", err, logged)
	}
}

func TestProvideFailsForAnUnavailableImage(t *testing.T) {
	ours, theirs := serve(t), serve(t)
	tag := theirs.host + "/library/thing:1"
	upstreamIndex(t, tag)
	gone := "sha256:" + strings.Repeat("0", 64)
	_, err := provideInto(t, ours, t.TempDir(), Upstream{Name: "thing", Image: tag, Digest: gone})
	if err == nil || !strings.HasPrefix(err.Error(), "image "+tag+": ") || !strings.HasSuffix(err.Error(), "and there is no recipe to build one like it") {
		t.Errorf("missing digest: %v", err)
	}
	if sent := ours.writes(); len(sent) > 0 {
		t.Errorf("something was pushed: %v", sent)
	}
}

func TestProvideOmitsAnUnavailableOptionalImage(t *testing.T) {
	ours, theirs := serve(t), serve(t)
	tag := theirs.host + "/library/thing:1"
	optional := Upstream{Name: "thing", Image: tag, Optional: "monitoring.thing"}
	provided := func(ctx context.Context) (bool, error) {
		return Provide(ctx, ours.host, t.TempDir(), optional, online(), progress.New(io.Discard))
	}
	if found, err := provided(t.Context()); found || err != nil || len(ours.writes()) > 0 {
		t.Errorf("unavailable image: provided %v, %v", found, err)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := provided(interrupted); err == nil {
		t.Error("an interruption counts as an unavailable image")
	}
	upstreamIndex(t, tag)
	for range 2 {
		if found, err := provided(t.Context()); !found || err != nil {
			t.Errorf("available image: provided %v, %v", found, err)
		}
	}
}

func TestProvideReportsABrokenRegistry(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no disk", http.StatusTeapot) }))
	defer broken.Close()
	host := strings.TrimPrefix(broken.URL, "http://")
	_, err := provideInto(t, &watched{host: host}, t.TempDir(), Upstream{Name: "thing", Image: "thing:1"})
	if err == nil || !strings.Contains(err.Error(), "look for "+host+"/library/thing:1") {
		t.Error(err)
	}
}

// A cached root file system needs no upstream registry.
func TestProvideUsesACachedBuild(t *testing.T) {
	for recipeName, recipe := range recipes {
		t.Run(recipeName, func(t *testing.T) {
			ours, cache := serve(t), t.TempDir()
			var root bytes.Buffer
			archive := tar.NewWriter(&root)
			if err := errors.Join(archive.WriteHeader(&tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}), archive.Close()); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(recipe.file(cache, recipeName), root.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := provideInto(t, ours, cache, Upstream{Name: recipeName, Image: "registry.invalid/library/" + recipeName + ":1"}); err != nil {
				t.Fatal(err)
			}
			config, err := get(t, ours.host+"/library/"+recipeName+":1").ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if user := fmt.Sprintf("%d:%[1]d", recipe.uid); config.Config.User != user || !slices.ContainsFunc(config.Config.Env, func(v string) bool { return strings.HasPrefix(v, "PATH=") && strings.Contains(v, "/usr/bin") }) {
				t.Errorf("configuration %+v", config.Config)
			}
		})
	}
}

func TestChangedRecipeIsBuiltAgain(t *testing.T) {
	base := recipes["redis"]
	file := base.file("/cache", "redis")
	if filepath.Dir(file) != "/cache" || base.file("/cache", "redis") != file {
		t.Errorf("file %s", file)
	}
	for what, changed := range map[string]recipe{
		"packages": {packages: []string{"redis-server", "redis-tools"}, user: base.user, uid: base.uid, prepare: base.prepare},
		"user":     {packages: base.packages, user: "other", uid: base.uid, prepare: base.prepare},
		"uid":      {packages: base.packages, user: base.user, uid: 1000, prepare: base.prepare},
		"prepare":  {packages: base.packages, user: base.user, uid: base.uid, prepare: "false"},
	} {
		if changed.file("/cache", "redis") == file {
			t.Errorf("a different %s has the same file %s", what, file)
		}
	}
}
