package deploy

import (
	"context"
	"errors"
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
	if err := d.goBuild(ctx, "infra", d.program(), "."); err != nil {
		return err
	}
	if took := time.Since(started).Round(time.Second); took > 2*time.Second {
		d.log.Say("the program: compiled in %s", took)
	}
	if err := d.writeLanguageHost(host); err != nil {
		return err
	}
	pulumi, err := tools.Path(ctx, "pulumi")
	if err != nil {
		return err
	}
	return d.provideDockerPlugin(ctx, pulumi)
}

func (d *Deployment) program() string { return filepath.Join(d.layout.Cache, "program") }

// writeLanguageHost wraps Pulumi's language host for Go, which would compile and
// link the program anew at every run. The wrapper lets the Go command decide
// whether there is anything to compile. Where that fails, the host itself says why.
func (d *Deployment) writeLanguageHost(host string) error {
	script := fmt.Sprintf(`#!/bin/sh
# Made by make up: runs the program compiled beforehand, compiled again when its sources changed.
if go build -o '%[2]s' . >/dev/null 2>&1; then
	exec '%[1]s' -binary='%[2]s' "$@"
fi
exec '%[1]s' "$@"
`, host, d.program())
	path := filepath.Join(d.layout.Bin(), toolchain.LanguageHost)
	return file.Write(path, []byte(script), 0o755)
}

// provideDockerPlugin puts our own plugin on PATH unless the real one is there, or comes.
func (d *Deployment) provideDockerPlugin(ctx context.Context, pulumi string) error {
	name := "pulumi-resource-" + dockerPlugin.Name
	link := filepath.Join(d.layout.Bin(), name)
	built := filepath.Join(d.layout.Cache, name)
	if _, err := os.Stat(built); err != nil && dockerPlugin.Download(ctx, pulumi, d.layout.PulumiHome()) {
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("docker plugin: %w", err)
		}
		return nil
	}
	if err := d.goBuild(ctx, "local", built, "./cmd/"+name); err != nil {
		return err
	}
	return toolchain.Link(built, link)
}

// goBuild compiles a main package of one of the repository's modules.
func (d *Deployment) goBuild(ctx context.Context, module, target, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", target, pkg)
	cmd.Dir = filepath.Join(d.layout.Repo, module)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s in %s: %w\n%s", pkg, module, err, strings.TrimSpace(string(output)))
	}
	return nil
}
