package toolchain

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mirror is a server of files, at /v1.2.3/<name>, that records its GET requests. Transfers of files called broken break off.
type mirror struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
}

func serve(t *testing.T, files map[string]string) *mirror {
	t.Helper()
	m := &mirror{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			m.mu.Lock()
			m.requests = append(m.requests, r.URL.Path)
			m.mu.Unlock()
		}
		content, found := files[strings.TrimPrefix(r.URL.Path, "/v1.2.3/")]
		if !found {
			http.NotFound(w, r)
			return
		}
		if strings.HasPrefix(path.Base(r.URL.Path), "broken") {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)+1))
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(m.Close)
	return m
}

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// tarball returns a .tar.gz with the files, in a folder as projects pack them.
func tarball(t *testing.T, files ...string) string {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	packed := tar.NewWriter(zipped)
	faults := []error{packed.WriteHeader(&tar.Header{Name: "project-1.2.3/hello", Typeflag: tar.TypeDir, Mode: 0o755})}
	for i := 0; i < len(files); i += 2 {
		header := &tar.Header{Name: "project-1.2.3/" + files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1]))}
		faults = append(faults, packed.WriteHeader(header))
		_, err := packed.Write([]byte(files[i+1]))
		faults = append(faults, err)
	}
	if err := errors.Join(append(faults, packed.Close(), zipped.Close())...); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// line returns the line of a release of the file on the server with that checksum.
func (m *mirror) line(file, sum string, tools ...string) string {
	return strings.Join([]string{strings.Join(tools, ","), runtime.GOARCH, sum, m.URL + "/v1.2.3/" + file, "SUMS"}, " ") + "\n"
}

// pin writes the list of releases.
func pin(t *testing.T, families string, lines ...string) {
	t.Helper()
	writeAll(t, families, map[string]string{releasesFile: "# releases\n" + strings.Join(lines, "")})
}

const (
	doesNotCompile  = "package main\n\nfunc main() { undefinedName() }\n"
	printsPublished = "#!/bin/sh\nprintf published\n"
)

func TestToolIsDownloaded(t *testing.T) {
	archive := tarball(t, "README.md", "hello", "bin/hello", printsPublished, "bin/other", "#!/bin/sh\nprintf other\n")
	for _, c := range []struct {
		name, file, content string
		tools               []string
	}{
		{"as a program", "hello", printsPublished, []string{"hello"}},
		{"in a .tar.gz", "project_1.2.3.tar.gz", archive, []string{"hello", "other"}},
		{"in a .tgz", "project.tgz", archive, []string{"other", "hello"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			families, folder := tiny(t, map[string]string{"hello": doesNotCompile, "other": doesNotCompile}), t.TempDir()
			server := serve(t, map[string]string{c.file: c.content})
			pin(t, families, server.line(c.file, sumOf(c.content), c.tools...))
			var tools []Tool
			for _, name := range c.tools {
				tools = append(tools, tinyTool(name))
			}
			first := on(folder, families, tools...)
			if !first.Cold() {
				t.Error("Cold is false before the download")
			}
			if err := first.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := prints(t, first.path(t, "hello")); got != "published" {
				t.Errorf("the tool prints %q", got)
			}
			if target, err := os.Readlink(filepath.Join(folder, "bin", "hello")); err != nil || target != first.path(t, "hello") {
				t.Errorf("the link points to %s: %v", target, err)
			}
			want := fmt.Sprintf("[1/%d] %s: downloading v1.2.3\n", len(tools), c.tools[0])
			if logged := first.logged.String(); !strings.HasSuffix(logged, want) || strings.Count(logged, "\n") != 1 {
				t.Errorf("the builder logged %q, want only %s", logged, want)
			}
			second := on(folder, families, tools...)
			if second.Cold() {
				t.Error("Cold is true after the download")
			}
			if err := second.Run(t.Context()); err != nil || second.logged.Len() > 0 {
				t.Errorf("downloaded again: %v; it logged %q", err, second.logged)
			}
			if want := []string{"/v1.2.3/" + c.file}; !slices.Equal(server.requests, want) {
				t.Errorf("requests %v, want %v", server.requests, want)
			}
		})
	}
}

// A compiled tool of the same version stays in use, because another program restarts its process.
func TestCompiledToolIsNotDownloaded(t *testing.T) {
	families, folder := tiny(t, map[string]string{"hello": printsVersion}), t.TempDir()
	if err := on(folder, families, tinyTool("hello")).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := serve(t, map[string]string{"hello": printsPublished})
	pin(t, families, server.line("hello", sumOf(printsPublished), "hello"))
	b := on(folder, families, tinyTool("hello"))
	if err := b.Run(t.Context()); err != nil || prints(t, b.path(t, "hello")) != "v1.2.3" || len(server.requests) > 0 {
		t.Errorf("%v; requests %v; logged %s", err, server.requests, b.logged)
	}
}

func TestRefusedDownloadIsCompiled(t *testing.T) {
	archive := tarball(t, "bin/hello", printsPublished)
	cut, empty := archive[:len(archive)/2], tarball(t, "README.md", "hello")
	none := strings.Repeat("0", 64)
	for _, c := range []struct{ name, file, content, sum, logged string }{
		{"with another checksum", "hello", printsPublished, none, "refused: the file has the SHA-256 " + sumOf(printsPublished) + ", but " + none + " is pinned\n"},
		{"in an archive with another checksum", "hello.tgz", archive, none, "refused: the file has the SHA-256 " + sumOf(archive) + ", but " + none + " is pinned\n"},
		{"in a truncated archive", "hello.tgz", cut, sumOf(archive), "refused: the file has the SHA-256 " + sumOf(cut) + ", but " + sumOf(archive) + " is pinned\n"},
		{"in an archive that was published truncated", "hello.tgz", cut, sumOf(cut), "refused: the archive is broken: "},
		{"in a file that is no archive", "hello.tgz", printsPublished, sumOf(printsPublished), "refused: the archive is broken: gzip: invalid header\n"},
		{"that the archive lacks", "hello.tgz", empty, sumOf(empty), "refused: the archive is broken: find hello: EOF\n"},
		{"whose transfer breaks off", "broken.tgz", archive, sumOf(archive), "unexpected EOF\n"},
		{"that the server lacks", "none", "", none, "the server returns 404 Not Found\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			families, folder := tiny(t, map[string]string{"hello": printsVersion}), t.TempDir()
			files := map[string]string{c.file: c.content}
			if c.content == "" {
				files = nil
			}
			server := serve(t, files)
			pin(t, families, server.line(c.file, c.sum, "hello"))
			b := on(folder, families, tinyTool("hello"))
			if err := b.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := prints(t, b.path(t, "hello")); got != "v1.2.3" {
				t.Errorf("the tool prints %q", got)
			}
			address := server.URL + "/v1.2.3/" + c.file
			if want := "[1/1] hello: can't be downloaded from " + address + ": " + c.logged; !strings.Contains(b.logged.String(), want) {
				t.Errorf("the builder logged %q, want %q", b.logged, want)
			}
			if left, _ := os.ReadDir(filepath.Join(folder, "cache")); len(left) != 1 || filepath.Join(folder, "cache", left[0].Name()) != filepath.Dir(b.path(t, "hello")) {
				t.Errorf("the cache contains %v, want only the compiled tool", left)
			}
		})
	}
}

func TestToolsOfASilentHostAreCompiledAfterOneProbe(t *testing.T) {
	probes, end := make(chan struct{}, 10), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		probes <- struct{}{}
		<-end
	}))
	defer silent.Close()
	defer close(end)
	server := &mirror{Server: silent}
	families := tiny(t, map[string]string{"hello": printsVersion, "other": printsVersion})
	pin(t, families, server.line("hello", sumOf(""), "hello"), server.line("other", sumOf(""), "other"))
	b := within(100*time.Millisecond, t.TempDir(), families, tinyTool("hello"), tinyTool("other"))
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(probes) > 1 || prints(t, b.path(t, "hello"))+prints(t, b.path(t, "other")) != "v1.2.3v1.2.3" {
		t.Errorf("%d probes; the builder logged %s", len(probes), b.logged)
	}
	if logged := b.logged.String(); strings.Count(logged, "can't be reached") != 1 || strings.Contains(logged, "downloading") {
		t.Errorf("the builder logged %s", logged)
	}
}

func TestInterruptedDownloadStartsAgain(t *testing.T) {
	families, folder := tiny(t, map[string]string{"hello": doesNotCompile}), t.TempDir()
	half, end := make(chan struct{}), make(chan struct{})
	stalled := &mirror{Server: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(printsPublished)))
		if r.Method == http.MethodGet {
			_, _ = w.Write([]byte(printsPublished[:9]))
			_ = http.NewResponseController(w).Flush()
			close(half)
			<-end
		}
	}))}
	defer stalled.Close()
	defer close(end)
	pin(t, families, stalled.line("hello", sumOf(printsPublished), "hello"))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-half
		cancel()
	}()
	if err := on(folder, families, tinyTool("hello")).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the interrupted run returns %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(folder, "cache")); len(left) > 0 {
		t.Errorf("the interrupted run leaves %v", left)
	}
	killed := exec.Command("true")
	if err := killed.Run(); err != nil {
		t.Fatal(err)
	}
	part := fmt.Sprintf("cache/%s%d-1", workPrefix, killed.Process.Pid)
	writeAll(t, folder, map[string]string{part + "/hello": printsPublished[:9]})
	pin(t, families, serve(t, map[string]string{"hello": printsPublished}).line("hello", sumOf(printsPublished), "hello"))
	b := on(folder, families, tinyTool("hello"))
	if err := b.Run(t.Context()); err != nil || prints(t, b.path(t, "hello")) != "published" {
		t.Errorf("the next run: %v; it logged %s", err, b.logged)
	}
	if exists(filepath.Join(folder, part)) {
		t.Error("the part of the killed run is still there")
	}
}

func TestReleaseOfAnotherVersionOrArchitectureIsIgnored(t *testing.T) {
	sum := sumOf(printsPublished)
	for name, change := range map[string]*strings.Replacer{
		"version":        strings.NewReplacer("/v1.2.3/", "/v1.2.2/"),
		"architecture":   strings.NewReplacer(runtime.GOARCH, "mips"),
		"no checksum":    strings.NewReplacer(sum, "-"),
		"another's tool": strings.NewReplacer("hello ", "other "),
	} {
		t.Run(name, func(t *testing.T) {
			families, server := tiny(t, map[string]string{"hello": printsVersion}), serve(t, map[string]string{"hello": printsPublished})
			pin(t, families, change.Replace(server.line("hello", sum, "hello")))
			b := on(t.TempDir(), families, tinyTool("hello"))
			if err := b.Run(t.Context()); err != nil || prints(t, b.path(t, "hello")) != "v1.2.3" || len(server.requests) > 0 {
				t.Errorf("%v; requests %v; logged %s", err, server.requests, b.logged)
			}
		})
	}
}

// The list of releases is beside this file.
func TestPinnedReleasesFitTheTools(t *testing.T) {
	list, err := os.ReadFile(releasesFile)
	if err != nil {
		t.Fatal(err)
	}
	versions, pinned := map[string]string{}, map[string]bool{}
	for _, tool := range slices.Concat(NodeTools(), PulumiTools(), MonitoringTools(), []Tool{Traefik()}) {
		if versions[tool.Name], err = tool.Release("."); err != nil {
			t.Error(err)
		}
	}
	for line := range strings.Lines(string(list)) {
		words := strings.Fields(line)
		if words[0] == "#" {
			continue
		}
		if len(words) != 5 || !strings.HasPrefix(words[3], "https://") || !regexp.MustCompile("^(amd64|arm64)$").MatchString(words[1]) ||
			!regexp.MustCompile("^[0-9a-f]{64}$").MatchString(words[2]) || strings.Contains(words[4], "/") {
			t.Errorf("want tools, architecture, SHA-256, URL and list of checksums: %s", line)
			continue
		}
		for _, tool := range strings.Split(words[0], ",") {
			if version := versions[tool]; version == "" || !strings.Contains(words[3], "/"+version+"/") {
				t.Errorf("%s has version %q in go.mod: change %s to it, and run make pin", tool, version, words[3])
			}
			if pinned[tool+words[1]] {
				t.Errorf("%s is pinned twice for %s", tool, words[1])
			}
			pinned[tool+words[1]] = true
		}
	}
}

func TestPinRenewsTheChecksums(t *testing.T) {
	folder := t.TempDir()
	list := filepath.Join(folder, "list")
	// This curl prints the file in the folder that is called like the URL's last part.
	writeAll(t, folder, map[string]string{
		"bin/curl":   "#!/bin/sh\nfor url; do :; done\ncat \"" + folder + "/${url##*/}\"\n",
		"SUMS":       "# SHA-256\n" + sumOf("a") + "  other.tgz\n" + sumOf("b") + " *hello.tgz\n" + sumOf("c") + "  x/hello.tgz.sig\n",
		"single.sum": sumOf("d") + "\n",
	})
	if err := os.Chmod(filepath.Join(folder, "bin", "curl"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	renew := func(lines string) (printed string, err error) {
		writeAll(t, folder, map[string]string{"list": lines})
		command := exec.CommandContext(t.Context(), "./pin", list)
		command.Env = []string{"PATH=" + filepath.Join(folder, "bin") + ":/usr/bin:/bin"}
		output, err := command.CombinedOutput()
		return string(output), err
	}
	lines := "# tools\nhello,other amd64 - https://example.com/v1/hello.tgz SUMS\nsingle arm64 " + sumOf("old") + " https://example.com/v1/single .sum\n"
	if printed, err := renew(lines); err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	want := strings.NewReplacer(" - ", " "+sumOf("b")+" ", sumOf("old"), sumOf("d")).Replace(lines)
	if got, err := os.ReadFile(list); err != nil || string(got) != want {
		t.Errorf("%s, want %s; %v", got, want, err)
	}
	for lines, want := range map[string]string{
		"hello amd64 - https://example.com/v1/another.tgz SUMS\n": "error: https://example.com/v1/SUMS has no SHA-256 of another.tgz\n",
		"hello amd64 - https://example.com/v1/hello.tgz NONE\n":   "No such file",
	} {
		printed, err := renew(lines)
		if got, _ := os.ReadFile(list); err == nil || !strings.Contains(printed, want) || string(got) != lines {
			t.Errorf("%v: printed %s; the list is now %s", err, printed, got)
		}
	}
}
