package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pulumi/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
)

// File is the path of a stack's configuration, relative to the project's root.
func File(name string) string { return "Pulumi." + name + ".yaml" }

// Setting returns the text of one setting, inside of an object or with dots in its key. It is empty if the setting isn't set.
func Setting(plain map[string]string, path string) string { return flatten(plain, faults{})[path] }

// mostBytes is the maximum size of a value. Pulumi passes the configuration to the program in one environment variable, and Linux
// limits that to 128 KiB.
const mostBytes = 100_000

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
		if key.Namespace() == Namespace && !content.Config[key].Secure() {
			values[key.Name()] = text
		}
	}
	return values, Fits(name, values)
}

// Fits returns an error if a value is too large for Pulumi to pass it to the program.
func Fits(name string, values map[string]string) error {
	var faults []error
	for key, text := range values {
		if len(text) > mostBytes {
			faults = append(faults, fmt.Errorf("stack %s: %s:%s: %d KB: Pulumi can't pass more than %d KB to the program in an environment "+
				"variable: keep only the certificates of a bundle that sign this store's certificate",
				name, Namespace, key, len(text)/1000, mostBytes/1000))
		}
	}
	return errors.Join(faults...)
}
