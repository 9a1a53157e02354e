// Package variant creates modified copies of the repository's sources: other versions of the services, good and bad ones, that are
// linked to the stack of this machine.
package variant

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Copy is a folder with a copy of the repository's sources.
type Copy string

// Sources copies the sources below root, committed or not, into an empty folder. The copy isn't linked to any stack of this machine.
func Sources(root, folder string) (Copy, error) {
	return copied(root, folder, `git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$0"`)
}

// New is like Sources, with a link to the configuration of the stack local.
func New(root, folder string) (Copy, error) {
	if _, err := Sources(root, folder); err != nil {
		return "", err
	}
	return copied(root, folder, `cp -d Pulumi.local.yaml "$0/"`)
}

func copied(root, folder, script string) (Copy, error) {
	command := exec.Command("bash", "-c", script, folder)
	command.Dir = root
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("copy the sources: %w: %s", err, bytes.TrimSpace(output))
	}
	return Copy(folder), nil
}

// Replace replaces all occurrences of a text in a file.
func (c Copy) Replace(file, old, replacement string) error {
	path := filepath.Join(string(c), file)
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(content), old) {
		return fmt.Errorf("%s has no %q", file, old)
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(content), old, replacement)), 0o600)
}

// Write writes a file.
func (c Copy) Write(file, content string) error {
	path := filepath.Join(string(c), file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}

// All selects all services in Differ.
const All = ""

// Differ turns the service, or all of them, into another version with the same behaviour. The binary contains the text.
func (c Copy) Differ(service, text string) error {
	file, name := "apps/internal/service/variant.go", "service"
	if service != All {
		file, name = "apps/"+service+"/variant.go", "main"
	}
	return c.Write(file, fmt.Sprintf("package %s\n\nimport \"os\"\n\nfunc init() { os.Getenv(%q) }\n", name, text))
}

// Preview runs pulumi preview on the copy and returns its output; pulumi must be on PATH. The preview compiles the services. In
// production, another machine does that; here it would take CPU from the requests, so run it before the load starts.
func (c Copy) Preview(ctx context.Context) (string, error) {
	command := exec.CommandContext(ctx, "pulumi", "preview", "--stack", "local", "--non-interactive")
	command.Dir = string(c)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // pulumi stops its child processes
	command.WaitDelay = 10 * time.Second
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("pulumi preview: %w\n%s", err, output)
	}
	return string(output), nil
}
