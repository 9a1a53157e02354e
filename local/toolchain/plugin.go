package toolchain

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// Download makes Pulumi download the plugin, and reports whether it is installed. It gives up at the first error; Pulumi itself
// would try five times.
func (p Plugin) Download(ctx context.Context, pulumi, home string) bool {
	if info, err := os.Lstat(p.path(home)); err == nil && info.Mode().IsRegular() {
		return true
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, pulumi, "plugin", "install", "resource", p.Name, p.Version)
	cmd.Env = append(os.Environ(), "PULUMI_HOME="+home, "PULUMI_SKIP_UPDATE_CHECK=true")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return false
	}
	if err := cmd.Start(); err != nil {
		return false
	}
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if strings.Contains(strings.ToLower(lines.Text()), "error") {
			cancel()
		}
	}
	return cmd.Wait() == nil
}
