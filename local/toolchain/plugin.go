package toolchain

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Plugin names a Pulumi plugin and its version, without a leading v.
type Plugin struct{ Name, Version string }

// Folder is where Pulumi keeps the plugin below its home once it was downloaded.
func (p Plugin) Folder(home string) string {
	return filepath.Join(home, "plugins", "resource-"+p.Name+"-v"+p.Version)
}

// Download has Pulumi download the plugin, and reports whether it is there. It
// gives up at the first complaint: Pulumi itself would try five times.
func (p Plugin) Download(ctx context.Context, pulumi, home string) bool {
	if _, err := os.Stat(p.Folder(home)); err == nil {
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
