package image

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"platform.example/local/progress"
)

// Upstream is a third-party image that the program uses.
type Upstream struct {
	Name   string `json:"name"`   // in the program, and of the recipe that replaces the image
	Image  string `json:"image"`  // reference by tag
	Digest string `json:"digest"` // of the tag when it was pinned
	// Optional is a setting of the stack, such as monitoring.grafana, that is set to false if the image can neither be pulled nor
	// built. If it is empty, the platform needs the image.
	Optional string `json:"optional"`
	Only     string `json:"only"` // an environment variable without which the image isn't provided; empty for always
}

// ReadUpstreams reads the program's list of images.
func ReadUpstreams(path string) ([]Upstream, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("list of images: %w", err)
	}
	var list []Upstream
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, fmt.Errorf("list of images %s: %w", path, err)
	}
	return list, nil
}

// resolveLimit is the time within which a reachable registry finds an image.
const resolveLimit = 15 * time.Second

// programs are the paths of the programs in an upstream image that consists only of compiled programs. The base name of a path
// is the tool's name; the first program is the image's entrypoint.
var programs = map[string][]string{
	"cloudnative-pg":     {"manager", "operator/manager_" + runtime.GOARCH},
	"versitygw":          {"usr/local/bin/versitygw"},
	"traefik":            {"usr/local/bin/traefik"},
	"prometheus":         {"bin/prometheus", "bin/promtool"},
	"alertmanager":       {"bin/alertmanager", "bin/amtool"},
	"kube-state-metrics": {"kube-state-metrics"},
	"node-exporter":      {"bin/node_exporter"},
	"postgres-exporter":  {"bin/postgres_exporter"},
	"redis-exporter":     {"redis_exporter"},
	"otel-collector":     {"otelcol-contrib"},
}

// Tools provides programs on demand, and knows which hosts are reachable.
type Tools interface {
	Path(ctx context.Context, name string) (string, error)
	Reachable(url string) bool
}

// errNoRecipe means that no replacement of the image can be built.
var errNoRecipe = errors.New("there is no recipe to build one like it")

// Probe probes the registry of a missing image. Probes run in parallel, because one of an unreachable registry takes seconds.
func Probe(ctx context.Context, registry string, upstream Upstream, tools Tools) {
	if target, err := mirrored(registry, upstream.Image); err == nil {
		if found, err := exists(ctx, target); err == nil && !found {
			reachable(upstream, tools)
		}
	}
}

func reachable(upstream Upstream, tools Tools) bool {
	parsed, err := name.ParseReference(upstream.Image)
	return err == nil && tools.Reachable(fmt.Sprintf("%s://%s/v2/", parsed.Context().Scheme(), parsed.Context().RegistryStr()))
}

// Provide puts the image into the registry: the real image, pulled by digest, or else a replacement that is built here. It
// reports whether the registry has the image; without an error, only an optional image can be missing.
func Provide(ctx context.Context, registry, cache string, upstream Upstream, tools Tools, log *progress.Log) (provided bool, err error) {
	target, err := mirrored(registry, upstream.Image)
	if err != nil {
		return false, err
	}
	if found, err := exists(ctx, target); err != nil || found {
		return found, err
	}
	built, how, err := provide(ctx, cache, upstream, tools, log)
	if upstream.Optional != "" && errors.Is(err, errNoRecipe) && ctx.Err() == nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("image %s: %w", upstream.Image, err)
	}
	if err := push(ctx, target, built); err != nil {
		return false, err
	}
	log.Say("image %s: %s", upstream.Image, how)
	return true, nil
}

// provide returns the image, and a word for the log on how it was obtained.
func provide(
	ctx context.Context, cache string, upstream Upstream, tools Tools, log *progress.Log,
) (image v1.Image, how string, err error) {
	recipe, hasRecipe := recipes[upstream.Name]
	if !hasRecipe || !recipe.isBuilt(cache, upstream.Name) {
		pulled, pullErr := pull(ctx, upstream, tools)
		if pullErr == nil {
			return pulled, "pulled", nil
		}
		if places, isProgram := programs[upstream.Name]; isProgram {
			log.Say("image %s: can't be pulled, building it from its program", upstream.Image)
			image, err = ofPrograms(ctx, places, tools)
			return image, "ready", err
		}
		if !hasRecipe {
			return nil, "", fmt.Errorf("%w; and %w", pullErr, errNoRecipe)
		}
		log.Say("image %s: can't be pulled, building it from Debian packages (%v)", upstream.Image, recipe.packages)
	}
	image, err = recipe.build(ctx, cache, upstream.Name)
	return image, "ready", err
}

// ofPrograms returns an image of programs of the toolchain.
func ofPrograms(ctx context.Context, places []string, tools Tools) (v1.Image, error) {
	layers := []v1.Layer{}
	for _, place := range places {
		program, err := tools.Path(ctx, strings.TrimSuffix(path.Base(place), "_"+runtime.GOARCH))
		if err != nil {
			return nil, err
		}
		layer, err := programLayer(place, program)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	roots, err := rootsLayer()
	if err != nil {
		return nil, err
	}
	return assemble(programConfig(places[0]), append(layers, roots)...)
}

// rootsLayer returns a layer with the public certificate authorities, at the path where Go programs look for them. Alertmanager,
// for example, calls chat services.
func rootsLayer() (v1.Layer, error) {
	var file bytes.Buffer
	for root := range bundle.Roots() {
		if err := pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, fmt.Errorf("certificate authorities: %w", err)
		}
	}
	return fileLayer("etc/ssl/certs/ca-certificates.crt", 0o644, file.Bytes())
}

func pull(ctx context.Context, upstream Upstream, tools Tools) (v1.Image, error) {
	if !reachable(upstream, tools) {
		return nil, errors.New("its registry can't be reached")
	}
	reference := upstream.Image
	if upstream.Digest != "" {
		reference += "@" + upstream.Digest
	}
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return nil, fmt.Errorf("name %s: %w", reference, err)
	}
	// The timeout applies only to the first request, because layers may be large.
	resolve, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	platform := v1.Platform{OS: "linux", Architecture: "amd64"}
	if _, err := remote.Head(parsed, remote.WithContext(resolve), remote.WithPlatform(platform)); err != nil {
		return nil, err
	}
	return remote.Image(parsed, remote.WithContext(ctx), remote.WithPlatform(platform))
}

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
	// release is Debian's release, bookworm by default. older is a line of sources.list of one more release.
	release, older string
}

// noCluster keeps the package from creating its own database cluster.
const noCluster = `mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"`

var recipes = map[string]recipe{
	"postgres": {
		packages: []string{"postgresql-15", "barman-cli-cloud"}, user: "postgres", uid: 26, path: "/usr/lib/postgresql/15/bin:",
		prepare: noCluster,
	},
	"postgres-17": { // pg_upgrade runs the programs of the image postgres in it, which need libraries of their release
		packages: []string{"postgresql-17", "barman-cli-cloud", "libicu72", "libldap-2.5-0"}, user: "postgres", uid: 26, path: "/usr/lib/postgresql/17/bin:",
		prepare: noCluster, release: "trixie", older: "deb http://deb.debian.org/debian bookworm main",
	},
	"pgbouncer": { // the release has no prepared statements in transaction mode before trixie; the operator runs /usr/bin/pgbouncer
		packages: []string{"pgbouncer"}, user: "pgbouncer", uid: 998, prepare: `ln -s ../sbin/pgbouncer "$1/usr/bin/pgbouncer"`, release: "trixie",
	},
	"redis": {packages: []string{"redis-server"}, user: "redis", uid: 999, prepare: "true"},
}

// arguments are the arguments of mmdebstrap, without the target.
func (r recipe) arguments() []string {
	user := fmt.Sprintf(`echo %[1]s:x:%[2]d:%[2]d::/nonexistent:/bin/sh >> "$1/etc/passwd" && echo %[1]s:x:%[2]d: >> "$1/etc/group"`, r.user, r.uid)
	arguments := []string{
		"--format=tar", "--variant=essential", "--include=" + strings.Join(r.packages, ","),
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/info/*",
		"--essential-hook=" + user, "--essential-hook=" + r.prepare,
		`--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/*`,
	}
	if r.older != "" {
		arguments = append(arguments, fmt.Sprintf(`--setup-hook=echo '%s' > "$1/etc/apt/sources.list.d/older.list"`, r.older))
	}
	return append(arguments, cmp.Or(r.release, "bookworm"))
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
	layer, err := tarball.LayerFromFile(file, fast...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return assemble(v1.Config{
		Env:  []string{"PATH=" + r.path + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"},
		User: fmt.Sprintf("%d:%d", r.uid, r.uid),
	}, layer)
}
