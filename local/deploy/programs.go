package deploy

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"platform.example/local/file"
	"platform.example/local/toolchain"
)

// dockerPlugin is what the program's SDK asks for.
var dockerPlugin = toolchain.Plugin{Name: "docker", Version: "4.11.2"}

// Compile prepares what runs beside Pulumi's own tools: the program itself, the
// command that generates its secrets, and the docker plugin where the real one
// can't be downloaded. The Go command's cache makes it quick when nothing changed.
func (d *Deployment) Compile(ctx context.Context, tools *toolchain.Builder) error {
	started := time.Now()
	if err := d.goBuild(ctx, "infra", filepath.Join(d.layout.Bin(), "secrets"), "./cmd/secrets"); err != nil {
		return err
	}
	host, err := tools.Path(ctx, toolchain.LanguageHost)
	if err != nil {
		return err
	}
	if err := d.goBuild(ctx, "infra", filepath.Join(d.layout.Repo, ".build", "program"), "."); err != nil {
		return err // says what the language host would only repeat
	}
	if took := time.Since(started).Round(time.Second); took > 2*time.Second {
		d.log.Say("the program: compiled in %s", took)
	}
	pulumi, err := tools.Path(ctx, "pulumi")
	if err != nil {
		return err
	}
	if strings.HasPrefix(pulumi, d.layout.Cache) { // one from PATH has a language host of its own
		if err := d.writeLanguageHost(filepath.Join(filepath.Dir(pulumi), toolchain.LanguageHost), host); err != nil {
			return err
		}
	}
	return d.provideDockerPlugin(ctx, pulumi)
}

//go:embed language-host.sh
var languageHost string

// writeLanguageHost wraps Pulumi's language host for Go, which would compile and
// link the program anew at every run. The wrapper keeps it beside the sources and
// compiles it when one of them has changed since it was last about to: the Go
// command takes seconds to find out that there is nothing to do, and Pulumi calls
// its host twice. Where that fails, the host itself says why. It lies beside
// pulumi, where Pulumi looks first.
func (d *Deployment) writeLanguageHost(path, host string) error {
	return file.Write(path, []byte(strings.ReplaceAll(languageHost, "HOST", host)), 0o755)
}

// provideDockerPlugin installs our own plugin unless the real one is there, or comes.
func (d *Deployment) provideDockerPlugin(ctx context.Context, pulumi string) error {
	compiled := filepath.Join(d.layout.Cache, dockerPlugin.Program())
	if _, err := os.Stat(compiled); err != nil && dockerPlugin.Download(ctx, pulumi, d.layout.PulumiHome()) {
		return nil
	}
	if err := d.goBuild(ctx, "local", compiled, "./cmd/"+dockerPlugin.Program()); err != nil {
		return err
	}
	return dockerPlugin.Install(d.layout.PulumiHome(), compiled)
}

// goBuild compiles a main package of one of the repository's modules.
func (d *Deployment) goBuild(ctx context.Context, module, target, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", target, pkg)
	cmd.Dir = filepath.Join(d.layout.Repo, module)
	// Each module's own versions, so that what runs is what its tests tested.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s in %s: %w\n%s", pkg, module, err, strings.TrimSpace(string(output)))
	}
	return nil
}
