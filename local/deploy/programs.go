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

// dockerPlugin is the version that the program's SDK requires.
var dockerPlugin = toolchain.Plugin{Name: "docker", Version: "4.11.2"}

// Compile prepares the programs beside Pulumi's own tools: the program itself, the command that generates its secrets, and the
// docker plugin if the real one can't be downloaded. With an unchanged source, the Go build cache makes it fast.
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
		return err // the language host would report the same
	}
	if took := time.Since(started).Round(time.Second); took > 2*time.Second {
		d.log.Say("compiled the Pulumi program in %s", took)
	}
	pulumi, err := tools.Path(ctx, "pulumi")
	if err != nil {
		return err
	}
	if strings.HasPrefix(pulumi, d.layout.Cache) { // one from PATH has its own language host
		if err := d.writeLanguageHost(filepath.Join(filepath.Dir(pulumi), toolchain.LanguageHost), host); err != nil {
			return err
		}
	}
	return d.provideDockerPlugin(ctx, pulumi)
}

//go:embed language-host.sh
var languageHost string

// writeLanguageHost wraps Pulumi's language host for Go, which would compile and link the program at every run. The wrapper
// keeps the binary beside the sources and compiles it only after a source has changed: the Go command takes seconds to detect
// that nothing has changed, and Pulumi calls its host twice. If the compilation fails, the real host reports the error. The
// wrapper lies beside pulumi, where Pulumi looks first.
func (d *Deployment) writeLanguageHost(path, host string) error {
	return file.Write(path, []byte(strings.ReplaceAll(languageHost, "HOST", host)), 0o755)
}

// provideDockerPlugin installs the platform's docker plugin unless the real one is installed or can be downloaded.
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
	// Without the workspace: the program then runs with the versions that its own module's tests use.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s in %s: %w\n%s", pkg, module, err, strings.TrimSpace(string(output)))
	}
	return nil
}
