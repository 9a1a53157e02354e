package toolchain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"platform.example/local/progress"
	"platform.example/local/reach"
)

// ErrUnknown is the error for a program that isn't one of the tools.
var ErrUnknown = errors.New("not a tool of the toolchain")

// workPrefix is the prefix of folders in the cache in which a tool is downloaded or compiled; the ID of the process follows.
const workPrefix = ".compiling-"

// Builder provides tools one after the other, in the given order, while other goroutines wait for the first ones: the node starts
// while Pulumi is still being compiled. Tools on demand are provided in between.
type Builder struct {
	*reach.Hosts // knows which hosts tools can be downloaded from

	families string // folder of the families' go.mod files
	cache    string // folder of downloaded and compiled tools
	bin      string // links to the tools in use
	home     string // Pulumi's own folder
	tools    []Tool
	log      *progress.Log
	results  map[string]*result

	compiling sync.Mutex // two parallel compilations need twice the memory, but not less time
}

// result is the path of a tool, or an error, once done is closed.
type result struct {
	demand sync.Once // for a tool on demand
	once   sync.Once
	done   chan struct{}
	path   string
	err    error
}

func (r *result) set(path string, err error) {
	r.once.Do(func() {
		r.path, r.err = path, err
		close(r.done)
	})
}

// NewBuilder returns a Builder of the tools. families is the folder of this package's sources; bin gets links to the tools in use;
// home is Pulumi's folder. Tools are downloaded from hosts that are reachable.
func NewBuilder(families, cache, bin, home string, tools []Tool, hosts *reach.Hosts, log *progress.Log) *Builder {
	b := &Builder{families: families, cache: cache, bin: bin, home: home, tools: tools, Hosts: hosts, log: log, results: map[string]*result{}}
	for _, tool := range tools {
		b.results[tool.Name] = &result{done: make(chan struct{})}
	}
	return b
}

// Run provides all tools except those on demand. It returns the first error; callers that wait for a later tool get it, too.
func (b *Builder) Run(ctx context.Context) error {
	if err := os.MkdirAll(b.bin, 0o755); err != nil {
		return fmt.Errorf("toolchain: %w", err)
	}
	unfinished, _ := filepath.Glob(filepath.Join(b.cache, workPrefix+"*"))
	for _, folder := range unfinished { // left by a killed run
		process, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), workPrefix), "-")
		if _, err := os.Stat(filepath.Join("/proc", process, "exe")); err == nil {
			continue // in use: make unit compiles tools in parallel with make up
		}
		if err := os.RemoveAll(folder); err != nil {
			return fmt.Errorf("toolchain: %w", err)
		}
	}
	for i, tool := range b.tools {
		if tool.OnDemand {
			continue
		}
		if err := b.settle(ctx, i); err != nil {
			for _, waiting := range b.results {
				waiting.set("", fmt.Errorf("not compiled, since %s failed", tool.Name))
			}
			return err
		}
	}
	return nil
}

// settle provides the tool with that index in the list, and notifies the callers that wait for it.
func (b *Builder) settle(ctx context.Context, i int) error {
	tool := b.tools[i]
	path, err := b.provide(ctx, tool, fmt.Sprintf("[%d/%d] %s", i+1, len(b.tools), tool.Name))
	if err == nil && !tool.Unlinked {
		err = Link(path, filepath.Join(b.bin, tool.Name))
	}
	b.results[tool.Name].set(path, err)
	return err
}

// Cold reports whether a tool is not in the cache yet, except for tools on demand.
func (b *Builder) Cold() bool {
	for _, tool := range b.tools {
		version, err := tool.version(b.families)
		if err != nil || tool.OnDemand {
			continue
		}
		if key, err := tool.key(b.families, version); err == nil && !exists(b.place(tool.Name, key)) {
			if r, ok := b.releaseOf(tool, version); !ok || !exists(b.place(tool.Name, r.sum)) {
				return true
			}
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// place is the path of a tool in the cache. The key is the hash of its sources or of its release.
func (b *Builder) place(tool, key string) string {
	return filepath.Join(b.cache, tool+"-"+key[:12], tool)
}

// Path waits until the tool is available and returns its path. It provides a tool on demand.
func (b *Builder) Path(ctx context.Context, name string) (string, error) {
	result, ok := b.results[name]
	if !ok {
		return "", fmt.Errorf("%w %q", ErrUnknown, name)
	}
	if i := slices.IndexFunc(b.tools, func(tool Tool) bool { return tool.Name == name }); b.tools[i].OnDemand {
		result.demand.Do(func() { _ = b.settle(ctx, i) }) // the error is in the result
	}
	select {
	case <-result.done:
		return result.path, result.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// provide finds the tool on PATH or in the cache, downloads it, or compiles it.
func (b *Builder) provide(ctx context.Context, tool Tool, label string) (string, error) {
	version, err := tool.version(b.families)
	if err != nil {
		return "", err
	}
	if path, have, ok := b.onPath(ctx, tool, version); ok {
		b.log.Say("%s: using %s (%s) from PATH", label, path, have)
		return path, nil
	}
	key, err := tool.key(b.families, version)
	if err != nil {
		return "", err
	}
	path := b.place(tool.Name, key)
	if r, published := b.releaseOf(tool, version); published && !exists(path) && b.obtain(ctx, tool, version, r, label) {
		path = b.place(tool.Name, r.sum)
	}
	if !exists(path) && tool.Plugin.Name != "" && b.DownloadPlugin(ctx, tool.Plugin) {
		b.log.Say("%s: downloaded %s", label, tool.Plugin.Version)
		return tool.Plugin.path(b.home), nil
	}
	if !exists(path) {
		if err := b.compile(ctx, tool, version, path, label); err != nil {
			return "", err
		}
	}
	if tool.Plugin.Name != "" {
		return path, tool.Plugin.Install(b.home, path)
	}
	return path, nil
}

var versionPattern = regexp.MustCompile(`\bv?(\d+\.\d+\.\d+)\b`)

// onPath looks for a suitable tool on PATH, except for the toolchain's own links.
func (b *Builder) onPath(ctx context.Context, tool Tool, want string) (path, have string, ok bool) {
	if tool.Fits == nil {
		return "", "", false
	}
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		if folder == "" || filepath.Clean(folder) == filepath.Clean(b.bin) {
			continue // the toolchain's own links come first on the PATH of a shell that called make env
		}
		if found, err := exec.LookPath(filepath.Join(folder, tool.Name)); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return "", "", false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	output, err := exec.CommandContext(ctx, path, tool.VersionArgs...).Output()
	match := versionPattern.FindStringSubmatch(string(output))
	if err != nil || match == nil {
		return "", "", false
	}
	have = "v" + match[1]
	return path, have, tool.Fits(have, want)
}

// compile builds into a separate folder and moves the complete result into place, so that an interrupted build leaves no file
// that looks complete.
func (b *Builder) compile(ctx context.Context, tool Tool, version, path, label string) error {
	b.compiling.Lock()
	defer b.compiling.Unlock()
	work, err := b.workFolder()
	if err != nil {
		return fmt.Errorf("compile %s: %w", tool.Name, err)
	}
	defer os.RemoveAll(work)
	dir := filepath.Join(b.families, tool.Family)
	args := []string{"-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", tool.ldflags(version), "-o", filepath.Join(work, tool.Name)}
	if tool.Embeds != nil || tool.Partial != nil {
		overlay, err := b.overlay(ctx, tool, dir, work)
		if err != nil {
			return fmt.Errorf("compile %s: %w", tool.Name, err)
		}
		args = append(args, "-overlay", overlay)
	}
	started := time.Now()
	b.log.Say("%s: compiling %s", label, version)
	if err := GoBuild(ctx, dir, append(args, tool.Package)...); err != nil {
		return fmt.Errorf("compile %s: %w", tool.Name, err)
	}
	if err := install(filepath.Join(work, tool.Name), path); err != nil {
		return fmt.Errorf("compile %s: %w", tool.Name, err)
	}
	b.log.Say("%s: done in %s", label, time.Since(started).Round(time.Second))
	return nil
}

// workFolder makes a folder in the cache for the work on a tool. A later Run removes it if this process is killed.
func (b *Builder) workFolder() (string, error) {
	if err := os.MkdirAll(b.cache, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(b.cache, fmt.Sprintf("%s%d-", workPrefix, os.Getpid()))
}

// install moves a complete program to its place in the cache.
func install(program, place string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(place), 0o755), os.Rename(program, place))
}

// GoBuild runs go build with the arguments in the folder. Its error contains the end of the command's output.
func GoBuild(ctx context.Context, dir string, args ...string) error {
	output, err := goCommand(ctx, dir, append([]string{"build"}, args...)...).CombinedOutput()
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	const most = 20
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return fmt.Errorf("%w\n%s", err, strings.Join(lines[max(0, len(lines)-most):], "\n"))
}

// overlay adds files of modules to folders of the family: the files that one of our packages embeds, and the files that a folder
// that replaces a module lacks. The Go command can't replace files of a module itself.
func (b *Builder) overlay(ctx context.Context, tool Tool, dir, work string) (string, error) {
	replace := map[string]string{}
	if tool.Embeds != nil {
		module, err := moduleFolder(ctx, dir, tool.Module)
		if err != nil {
			return "", err
		}
		for name, source := range tool.Embeds {
			replace[filepath.Join(dir, tool.Package, name)] = filepath.Join(module, source)
		}
	}
	for folder, path := range tool.Partial {
		module, err := replacedFolder(ctx, dir, path)
		if err == nil {
			err = complete(replace, module, filepath.Join(dir, folder))
		}
		if err != nil {
			return "", err
		}
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(work, "overlay.json")
	return path, os.WriteFile(path, content, 0o600)
}

// moduleFolder downloads a module that the family requires, and returns its folder.
func moduleFolder(ctx context.Context, dir, path string) (string, error) {
	// Before the first build, go list would fail because the modules aren't downloaded.
	if output, err := goCommand(ctx, dir, "mod", "download", path).CombinedOutput(); err != nil {
		return "", fmt.Errorf("download %s: %w: %s", path, err, output)
	}
	output, err := goCommand(ctx, dir, "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", path, err)
	}
	return strings.TrimSpace(string(output)), nil
}

// replacedFolder downloads the original of a replaced module, in the version that the family requires.
func replacedFolder(ctx context.Context, dir, path string) (string, error) {
	version, err := goCommand(ctx, dir, "list", "-m", "-f", "{{.Version}}", path).Output()
	if err != nil {
		return "", fmt.Errorf("find the version of %s: %w", path, err)
	}
	output, err := goCommand(ctx, dir, "mod", "download", "-json", path+"@"+strings.TrimSpace(string(version))).Output()
	var downloaded struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(output, &downloaded); err != nil || jsonErr != nil {
		return "", fmt.Errorf("download %s: %w: %s", path, errors.Join(err, jsonErr), downloaded.Error)
	}
	return downloaded.Dir, nil
}

// complete adds the files of a module, except for tests, to a folder that contains some of its packages. Packages that the folder
// contains, and all below them, are not changed.
func complete(replace map[string]string, module, folder string) error {
	return filepath.WalkDir(module, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(module, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if own, _ := filepath.Glob(filepath.Join(folder, relative, "*.go")); len(own) > 0 {
				return fs.SkipDir
			}
			return nil
		}
		if relative != "go.mod" && !strings.HasSuffix(path, "_test.go") {
			replace[filepath.Join(folder, relative)] = path
		}
		return nil
	})
}

func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// The compiler spends less time on garbage collection until its heap reaches the limit.
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOGC=400", "GOMEMLIMIT=1GiB")
	return cmd
}

// Link makes the link name point to path; it replaces an existing link atomically.
func Link(path, name string) error {
	if current, err := os.Readlink(name); err == nil && current == path {
		return nil
	}
	fresh := name + ".new"
	err := errors.Join(os.RemoveAll(fresh), os.Symlink(path, fresh))
	if err == nil {
		err = os.Rename(fresh, name)
	}
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}
