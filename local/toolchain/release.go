package toolchain

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// release is a file that a project publishes: a program, or an archive with programs.
type release struct {
	tools    []string
	sum, url string
}

// releasesFile is the list of releases, beside the families.
const releasesFile = "releases.txt"

// downloadLimit is the time after which a tool is compiled instead.
const downloadLimit = 5 * time.Minute

// releaseOf returns the release of that version of the tool for this architecture, if there is one.
func (b *Builder) releaseOf(tool Tool, version string) (found release, ok bool) {
	list, _ := os.ReadFile(filepath.Join(b.families, releasesFile))
	for line := range strings.Lines(string(list)) {
		words := strings.Fields(line)
		if len(words) != 5 || words[1] != runtime.GOARCH || len(words[2]) != 2*sha256.Size {
			continue
		}
		tools, published := strings.Split(words[0], ","), strings.Contains(words[3], "/"+tool.released(version)+"/")
		if published && slices.Contains(tools, tool.Name) {
			return release{tools: tools, sum: words[2], url: words[3]}, true
		}
	}
	return release{}, false
}

// obtain downloads the tool unless it is in the cache. It reports whether the tool is there.
func (b *Builder) obtain(ctx context.Context, tool Tool, version string, r release, label string) bool {
	if exists(b.place(tool.Name, r.sum)) {
		return true
	}
	if !b.Reachable(r.url) {
		return false
	}
	b.log.Say("%s: downloading %s", label, tool.released(version))
	err := b.download(ctx, r)
	if err != nil {
		b.log.Say("%s: can't be downloaded from %s: %v", label, r.url, err)
	}
	return err == nil
}

// download puts all tools of the release into the cache. It works in a separate folder, so that neither an interrupted download nor a
// refused file leaves a file that looks complete. The environment can set a proxy, such as in HTTPS_PROXY.
func (b *Builder) download(ctx context.Context, r release) error {
	work, err := b.workFolder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	ctx, cancel := context.WithTimeout(ctx, downloadLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server returns %s", response.Status)
	}
	file, hash, archived := filepath.Join(work, r.tools[0]), sha256.New(), strings.HasSuffix(r.url, "gz")
	if archived {
		file += ".gz"
	}
	if err := writeProgram(file, io.TeeReader(response.Body, hash)); err != nil {
		return err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != r.sum {
		return fmt.Errorf("refused: the file has the SHA-256 %s, but %s is pinned", sum, r.sum)
	}
	if archived {
		if err := extract(file, work, r.tools); err != nil {
			return fmt.Errorf("refused: the archive is broken: %w", err)
		}
	}
	for _, tool := range r.tools {
		err = errors.Join(err, install(filepath.Join(work, tool), b.place(tool, r.sum)))
	}
	return err
}

// extract writes the tools of an archive into a folder.
func extract(archive, folder string, tools []string) error {
	packed, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer packed.Close()
	unzipped, err := gzip.NewReader(packed)
	if err != nil {
		return err
	}
	missing := slices.Clone(tools)
	for files := tar.NewReader(unzipped); len(missing) > 0; {
		header, err := files.Next()
		if err != nil {
			return fmt.Errorf("find %s: %w", strings.Join(missing, ", "), err)
		}
		if i := slices.Index(missing, path.Base(header.Name)); i >= 0 && header.Typeflag == tar.TypeReg {
			if err := writeProgram(filepath.Join(folder, missing[i]), files); err != nil {
				return err
			}
			missing = slices.Delete(missing, i, i+1)
		}
	}
	return nil
}

// writeProgram writes an executable file to the disk.
func writeProgram(path string, content io.Reader) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return errors.Join(err, out.Sync(), out.Close())
}
