package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"platform.example/local/progress"
)

// compiled is what was asked of the toolchain, which has the one program or an error.
type compiled struct {
	path  string
	err   error
	asked []string
}

func (c *compiled) Path(_ context.Context, name string) (string, error) {
	c.asked = append(c.asked, name)
	return c.path, c.err
}

func provideTraefik(t *testing.T, r *watched, upstream Upstream, tools Tools) (said string, err error) {
	t.Helper()
	upstream.Name = "traefik"
	var out bytes.Buffer
	err = Provide(t.Context(), r.host, t.TempDir(), upstream, tools, progress.New(&out))
	return out.String(), err
}

func TestAnImageThatCantBePulledIsMadeOfItsProgram(t *testing.T) {
	ours := serve(t)
	tools := &compiled{path: program(t, "binary")}
	upstream := Upstream{Image: "registry.invalid/library/traefik:v3.6.2", Digest: "sha256:" + strings.Repeat("0", 64)}
	if said, err := provideTraefik(t, ours, upstream, tools); err != nil || !strings.Contains(said, upstream.Image+": can't be pulled") {
		t.Fatalf("%v; said %q", err, said)
	}
	made := get(t, ours.host+"/library/traefik:v3.6.2")
	config, err := made.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/usr/local/bin/traefik"}) {
		t.Errorf("configuration %+v", config.Config)
	}
	layers, err := made.Layers()
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
	if err != nil || header.Name != "usr/local/bin/traefik" || header.Mode != 0o755 {
		t.Fatalf("first file %+v, %v", header, err)
	}
	if file, err := io.ReadAll(archive); err != nil || string(file) != "binary" {
		t.Errorf("it holds %q, %v", file, err)
	}

	ours.writes()
	if said, err := provideTraefik(t, ours, upstream, tools); err != nil || said != "" || len(ours.writes()) > 0 || len(tools.asked) != 1 {
		t.Errorf("what is there was made again: %v; said %q; compiled %v", err, said, tools.asked)
	}
}

func TestNothingIsCompiledForAnImageThatCanBePulled(t *testing.T) {
	ours, theirs := serve(t), serve(t)
	tag := theirs.host + "/library/traefik:v3.6.2"
	pinned, amd64 := upstreamIndex(t, tag)
	tools := &compiled{err: errors.New("compiled for nothing")}
	if said, err := provideTraefik(t, ours, Upstream{Image: tag, Digest: digest(t, pinned)}, tools); err != nil || !strings.Contains(said, tag+": pulled") {
		t.Fatalf("%v; said %q", err, said)
	}
	if got := get(t, ours.host+"/library/traefik:v3.6.2"); digest(t, got) != digest(t, amd64) || len(tools.asked) > 0 {
		t.Errorf("our registry answers with %s, want the pinned %s; compiled %v", digest(t, got), digest(t, amd64), tools.asked)
	}
}

func TestAProgramThatCantBeCompiledSaysForWhichImage(t *testing.T) {
	ours := serve(t)
	broken := errors.New("compile traefik: exit status 1")
	_, err := provideTraefik(t, ours, Upstream{Image: "registry.invalid/library/traefik:v3.6.2"}, &compiled{err: broken})
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "image registry.invalid/library/traefik:v3.6.2: ") {
		t.Error(err)
	}
	if sent := ours.writes(); len(sent) > 0 {
		t.Errorf("yet something was pushed: %v", sent)
	}
}

// The names are the contract with the program's list: without it, nothing else can be made of a program.
func TestEveryProgramIsAmongThePinnedImages(t *testing.T) {
	pinned, err := ReadUpstreams(filepath.Join("..", "..", "infra", "image", "upstream.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range programs {
		if !slices.ContainsFunc(pinned, func(upstream Upstream) bool { return upstream.Name == name }) {
			t.Errorf("the program asks for no image %s", name)
		}
	}
}
