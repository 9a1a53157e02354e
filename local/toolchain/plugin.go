package toolchain

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Plugin names a Pulumi plugin and its version, without a leading v.
type Plugin struct{ Name, Version string }

// Program is the plugin's file name.
func (p Plugin) Program() string { return "pulumi-resource-" + p.Name }

// path is the plugin's path in Pulumi's home folder.
func (p Plugin) path(home string) string {
	return filepath.Join(home, "plugins", "resource-"+p.Name+"-v"+p.Version, p.Program())
}

// Install links a plugin that was compiled here into Pulumi's home folder. Pulumi also finds a plugin on PATH, but warns of it at
// every run.
func (p Plugin) Install(home, compiled string) error {
	if err := os.MkdirAll(filepath.Dir(p.path(home)), 0o755); err != nil {
		return fmt.Errorf("install plugin %s: %w", p.Name, err)
	}
	return Link(compiled, p.path(home))
}

// pluginHosts are where Pulumi downloads plugins from.
var pluginHosts = []string{"https://api.github.com/", "https://get.pulumi.com/"}

// DownloadPlugin makes Pulumi download the plugin if a host that has it is reachable, and reports whether the plugin is installed.
func (b *Builder) DownloadPlugin(ctx context.Context, plugin Plugin) bool {
	if info, err := os.Lstat(plugin.path(b.home)); err == nil && info.Mode().IsRegular() {
		return true
	}
	if !slices.ContainsFunc(pluginHosts, b.Reachable) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, downloadLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.results["pulumi"].path, "plugin", "install", "resource", plugin.Name, plugin.Version)
	cmd.Env = append(os.Environ(), "PULUMI_HOME="+b.home, "PULUMI_SKIP_UPDATE_CHECK=true")
	return cmd.Run() == nil
}
