// Package variant makes copies of the repository's sources in which something is different: other versions of the services,
// good ones and bad ones, bound to the stack of this machine.
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

// Copy is a folder with the sources of a repository.
type Copy string

// Sources copies the sources below root, committed or not, into an empty folder. It is bound to no stack of this machine.
func Sources(root, folder string) (Copy, error) {
	return copied(root, folder, `git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$0"`)
}

// New is Sources with the link to the configuration of the stack local.
func New(root, folder string) (Copy, error) {
	if _, err := Sources(root, folder); err != nil {
		return "", err
	}
	return copied(root, folder, `cp -d Pulumi.local.yaml "$0/"`)
}

func copied(root, folder, script string) (Copy, error) {
	command := exec.Command("bash", "-c", script, folder)
	command.Dir = root
	if said, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("copy the sources: %w: %s", err, bytes.TrimSpace(said))
	}
	return Copy(folder), nil
}

// Replace replaces a text in a file, wherever it stands there.
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

// Write makes a file.
func (c Copy) Write(file, content string) error {
	path := filepath.Join(string(c), file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}

// All are the services, as a name for Differ.
const All = ""

// Differ makes the service, or all of them, another version that does the same. The text is in its binary.
func (c Copy) Differ(service, text string) error {
	file, name := "apps/internal/service/variant.go", "service"
	if service != All {
		file, name = "apps/"+service+"/variant.go", "main"
	}
	return c.Write(file, fmt.Sprintf("package %s\n\nimport \"os\"\n\nfunc init() { os.Getenv(%q) }\n", name, text))
}

// Preview is what pulumi, which has to be on PATH, says of an update from the copy. It compiles the services: elsewhere another
// machine does that, and here it would take the CPU that people's requests need, so it is done before there are any.
func (c Copy) Preview(ctx context.Context) (string, error) {
	command := exec.CommandContext(ctx, "pulumi", "preview", "--stack", "local", "--non-interactive")
	command.Dir = string(c)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // pulumi ends what it has started
	command.WaitDelay = 10 * time.Second
	said, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("pulumi preview: %w\n%s", err, said)
	}
	return string(said), nil
}
