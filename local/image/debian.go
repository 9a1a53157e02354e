package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// recipe describes a root file system of Debian packages that is compatible with the official image of the same name: the
// programs, their paths, and the user.
type recipe struct {
	packages []string
	// user is the system user, with the ID of the official image. It is created before the packages are installed, because
	// their scripts would choose another ID.
	user string
	uid  int
	// prepare runs before the packages are installed; $1 is the root file system.
	prepare string
	// path is the folder of the programs, beside the usual folders.
	path string
}

var recipes = map[string]recipe{
	"postgres": {
		packages: []string{"postgresql-15"}, user: "postgres", uid: 999, path: "/usr/lib/postgresql/15/bin:",
		// Keep the package from creating its own database cluster.
		prepare: `mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"`,
	},
	"redis": {packages: []string{"redis-server"}, user: "redis", uid: 999, prepare: "true"},
}

// arguments are the arguments of mmdebstrap, without the target.
func (r recipe) arguments() []string {
	user := fmt.Sprintf(`echo %[1]s:x:%[2]d:%[2]d::/nonexistent:/bin/sh >> "$1/etc/passwd" && echo %[1]s:x:%[2]d: >> "$1/etc/group"`, r.user, r.uid)
	return []string{
		"--format=tar", "--variant=essential", "--include=" + strings.Join(r.packages, ","),
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/info/*",
		"--essential-hook=" + user, "--essential-hook=" + r.prepare,
		`--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/*`,
		"bookworm",
	}
}

// file is the path of the cached root file system; the name contains a hash of the recipe.
func (r recipe) file(cache, name string) string {
	sum := sha256.Sum256([]byte(strings.Join(r.arguments(), "\n")))
	return filepath.Join(cache, name+"-"+hex.EncodeToString(sum[:])[:12]+".tar")
}

func (r recipe) isBuilt(cache, name string) bool {
	_, err := os.Stat(r.file(cache, name))
	return err == nil
}

// build creates the root file system unless it is cached, and returns an image of it.
func (r recipe) build(ctx context.Context, cache, name string) (v1.Image, error) {
	file := r.file(cache, name)
	if !r.isBuilt(cache, name) {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			return nil, err
		}
		unfinished := file + ".unfinished"
		// A killed run leaves its work in this folder, and the next run removes it.
		work := file + ".work"
		if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o755)); err != nil {
			return nil, err
		}
		defer os.RemoveAll(work)
		cmd := exec.CommandContext(ctx, "mmdebstrap", append(r.arguments(), unfinished)...)
		cmd.Env = append(os.Environ(), "TMPDIR="+work)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		if output, err := cmd.CombinedOutput(); err != nil {
			lines := strings.Split(strings.TrimSpace(string(output)), "\n")
			return nil, fmt.Errorf("mmdebstrap: %w: %s", err, strings.Join(lines[max(0, len(lines)-5):], "\n"))
		}
		if err := os.Rename(unfinished, file); err != nil {
			return nil, err
		}
	}
	layer, err := tarball.LayerFromFile(file, tarball.WithCompressionLevel(gzipFast), tarball.WithMediaType(types.DockerLayer))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return assemble(v1.Config{
		Env:  []string{"PATH=" + r.path + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"},
		User: fmt.Sprintf("%d:%d", r.uid, r.uid),
	}, layer)
}
