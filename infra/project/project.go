// Package project reads the configuration of a stack from the files of the Pulumi project.
package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"platform.example/infra/stack"
)

// File is the path of a stack's configuration, relative to the project's root.
func File(name string) string { return "Pulumi." + name + ".yaml" }

// ErrImports is the error for a stack's file that imports environments (ESC), which only the command pulumi can read.
var ErrImports = errors.New("it imports environments, which only pulumi reads")

// Read returns the plain values of a stack's configuration as Pulumi passes them to the program: objects and lists as JSON. It leaves
// out values that contain a secret. Read uses Pulumi's own code in this process, since running pulumi takes a second and a rollback must
// be fast. If file is empty, Read uses the stack's file in the project.
func Read(ctx context.Context, root, name, file string) (map[string]string, error) {
	project, err := workspace.LoadProject(filepath.Join(root, "Pulumi.yaml"))
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	if file == "" {
		file = filepath.Join(root, project.StackConfigDir, File(name))
	}
	if _, err := os.Stat(file); err != nil { // Pulumi treats a missing file as empty
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	content, err := workspace.LoadProjectStack(nil, project, file)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	if len(content.EnvironmentBytes()) > 0 {
		return nil, fmt.Errorf("stack %s: %s: %w", name, file, ErrImports)
	}
	blind := config.NewBlindingDecrypter()
	if err := workspace.ApplyProjectConfig(ctx, name, project, esc.Value{}, content.Config, config.NopEncrypter, blind); err != nil {
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	texts, err := content.Config.Decrypt(blind)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	values := map[string]string{}
	for key, text := range texts {
		if key.Namespace() == stack.Namespace && !content.Config[key].Secure() {
			values[key.Name()] = text
		}
	}
	return values, stack.Fits(name, values)
}
