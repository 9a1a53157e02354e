package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sources returns a build context of some files.
func sources(t *testing.T) buildInputs {
	t.Helper()
	folder := t.TempDir()
	for name, content := range map[string]string{
		"Dockerfile": "FROM scratch\n", "main.go": "package main\n", "sub/deep/file": "x", "tmp/cache": "c", "tmp/keep": "k",
	} {
		writeFile(t, filepath.Join(folder, name), content)
	}
	if err := os.Symlink("main.go", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	return buildInputs{Context: folder, Dockerfile: filepath.Join(folder, "Dockerfile")}
}

func digest(t *testing.T, b buildInputs) string {
	t.Helper()
	sum, err := b.digest()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// unpack returns the headers and contents of the archive by file name.
func unpack(t *testing.T, archive io.Reader) (contents map[string]string, headers map[string]*tar.Header) {
	t.Helper()
	contents, headers = map[string]string{}, map[string]*tar.Header{}
	for reader := tar.NewReader(archive); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return contents, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		contents[header.Name], headers[header.Name] = string(content), header
	}
}

func archived(t *testing.T, b buildInputs) (map[string]string, map[string]*tar.Header) {
	t.Helper()
	var archive bytes.Buffer
	if err := b.writeContext(&archive); err != nil {
		t.Fatal(err)
	}
	return unpack(t, &archive)
}

func TestArchiveContainsTheContext(t *testing.T) {
	b := sources(t)
	contents, headers := archived(t, b)
	for name, want := range map[string]string{"main.go": "package main\n", "sub/deep/file": "x", "link": "", dockerfileInContext: "FROM scratch\n"} {
		if got, ok := contents[name]; !ok || got != want {
			t.Errorf("%s: %q, %v, want %q", name, got, ok, want)
		}
	}
	if headers["link"].Linkname != "main.go" || headers["sub"] == nil || headers["sub"].Typeflag != tar.TypeDir {
		t.Errorf("link to %q, folder %+v", headers["link"].Linkname, headers["sub"])
	}
}

func TestDigestChangesWithEachInput(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(folder string) error
		changes bool
	}{
		{"nothing", func(string) error { return nil }, false},
		{"a time", func(folder string) error {
			return os.Chtimes(filepath.Join(folder, "main.go"), time.Unix(1, 0), time.Unix(1, 0))
		}, false},
		{"a content", func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "main.go"), []byte("package other\n"), 0o644)
		}, true},
		{"a mode", func(folder string) error { return os.Chmod(filepath.Join(folder, "main.go"), 0o755) }, true},
		{"a name", func(folder string) error {
			return os.Rename(filepath.Join(folder, "main.go"), filepath.Join(folder, "m.go"))
		}, true},
		{"a new file", func(folder string) error { return os.WriteFile(filepath.Join(folder, "sub", "new"), nil, 0o644) }, true},
		{"a removed file", func(folder string) error { return os.Remove(filepath.Join(folder, "sub", "deep", "file")) }, true},
		{"the target of a link", func(folder string) error {
			link := filepath.Join(folder, "link")
			return errors.Join(os.Remove(link), os.Symlink("Dockerfile", link))
		}, true},
		{"the Dockerfile", func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte("FROM other\n"), 0o644)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sources(t)
			before := digest(t, b)
			if err := c.change(b.Context); err != nil {
				t.Fatal(err)
			}
			if after := digest(t, b); (after != before) != c.changes {
				t.Errorf("digest %s, was %s, want a new one: %v", after, before, c.changes)
			}
		})
	}
}

func TestDigestDependsOnlyOnTheContent(t *testing.T) {
	if first, second := digest(t, sources(t)), digest(t, sources(t)); first != second {
		t.Errorf("the same files in another folder have the digests %s and %s", first, second)
	}
}

func TestDockerfileOutsideOfTheContext(t *testing.T) {
	b := sources(t)
	b.Dockerfile = filepath.Join(t.TempDir(), "Other.Dockerfile")
	writeFile(t, b.Dockerfile, "FROM elsewhere\n")
	contents, _ := archived(t, b)
	if contents[dockerfileInContext] != "FROM elsewhere\n" || contents["Dockerfile"] != "FROM scratch\n" {
		t.Errorf("the Dockerfile is %q, the context's own %q", contents[dockerfileInContext], contents["Dockerfile"])
	}
	before := digest(t, b)
	writeFile(t, b.Dockerfile, "FROM changed\n")
	if digest(t, b) == before {
		t.Error("the digest doesn't change with the Dockerfile")
	}
}

func TestArchiveContainsNoOwnersAndTimes(t *testing.T) {
	b := sources(t)
	_, headers := archived(t, b)
	for name, header := range headers {
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.Gname != "" || !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: %+v", name, header)
		}
	}
	if name := dockerfileInContext; !slices.Contains([]int64{0o644}, headers[name].Mode) {
		t.Errorf("%s has mode %o", name, headers[name].Mode)
	}
}

func TestErrorNamesAnUnreadableContext(t *testing.T) {
	b := sources(t)
	b.Dockerfile = filepath.Join(b.Context, "none")
	if _, err := b.digest(); err == nil || !strings.Contains(err.Error(), "build dockerfile "+b.Dockerfile) {
		t.Error(err)
	}
	b = buildInputs{Context: filepath.Join(t.TempDir(), "none"), Dockerfile: "x"}
	if _, err := b.digest(); err == nil || !strings.Contains(err.Error(), "build context "+b.Context) {
		t.Error(err)
	}
}
