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

// File is where a stack's configuration stands, relative to the project's root.
func File(name string) string { return "Pulumi." + name + ".yaml" }

// Setting is the text of one setting in the values, wherever they have it; empty where it isn't set.
func Setting(plain map[string]string, path string) string { return flatten(plain, faults{})[path] }

// mostBytes is how large a value may be: Pulumi hands the configuration to the program in one environment variable, of which
// Linux takes 128 KiB.
const mostBytes = 100_000

// ErrImports is that a stack's file imports environments (ESC), which only the command pulumi can read.
var ErrImports = errors.New("it imports environments, which only pulumi reads")

// Read reads the plain values of a stack's configuration as Pulumi hands them to the program: objects and lists as JSON.
// Those that hold a secret are left out. It is Pulumi's own code that reads them, in this process, since a rollback has no
// second to lose. An empty file is that of the stack in the folder of the project.
func Read(ctx context.Context, root, name, file string) (map[string]string, error) {
	project, err := workspace.LoadProject(filepath.Join(root, "Pulumi.yaml"))
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	if file == "" {
		file = filepath.Join(root, project.StackConfigDir, File(name))
	}
	if _, err := os.Stat(file); err != nil { // Pulumi takes a file that is missing for an empty one
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	read, err := workspace.LoadProjectStack(nil, project, file)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	if len(read.EnvironmentBytes()) > 0 {
		return nil, fmt.Errorf("stack %s: %s: %w", name, file, ErrImports)
	}
	blind := config.NewBlindingDecrypter()
	if err := workspace.ApplyProjectConfig(ctx, name, project, esc.Value{}, read.Config, config.NopEncrypter, blind); err != nil {
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	texts, err := read.Config.Decrypt(blind)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	values := map[string]string{}
	for key, text := range texts {
		if key.Namespace() == Namespace && !read.Config[key].Secure() {
			values[key.Name()] = text
		}
	}
	return values, Fits(name, values)
}

// Fits is an error where Pulumi could not hand the values to the program.
func Fits(name string, values map[string]string) error {
	var faults []error
	for key, text := range values {
		if len(text) > mostBytes {
			faults = append(faults, fmt.Errorf("stack %s: %s:%s: %d KB: Pulumi can't hand more than %d KB to the program, nor can a service "+
				"take more from its environment: of a bundle of certificates, keep those that this store's is signed by",
				name, Namespace, key, len(text)/1000, mostBytes/1000))
		}
	}
	return errors.Join(faults...)
}
