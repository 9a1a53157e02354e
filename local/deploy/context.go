package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// CheckTarget returns an error if the user's kubeconfig lacks the target's context, or if the first deployment to it has no registry.
// It changes nothing.
func (d *Deployment) CheckTarget(target Target) error {
	known, err := contexts()
	if err != nil {
		return err
	}
	if !slices.Contains(known, target.Context) {
		return fmt.Errorf("CONTEXT=%s: your kubeconfig has no such context: want one of %s", target.Context, strings.Join(known, ", "))
	}
	if _, err := os.Stat(d.file(configurationFile)); err != nil && target.Registry == "" {
		return errors.New("REGISTRY is missing: the first make up CONTEXT=… needs REGISTRY=<host/path>, which you can push to and the cluster can pull from")
	}
	return nil
}

// contexts returns the names of the contexts in the user's kubeconfig files.
func contexts() ([]string, error) {
	files := filepath.SplitList(os.Getenv("KUBECONFIG"))
	if len(files) == 0 {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("find the kubeconfig: %w", err)
		}
		files = []string{filepath.Join(home, ".kube", "config")}
	}
	var names []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // like kubectl
		}
		var config struct {
			Contexts []struct {
				Name string `yaml:"name"`
			} `yaml:"contexts"`
		}
		if err == nil {
			err = yaml.Unmarshal(content, &config)
		}
		if err != nil {
			return nil, fmt.Errorf("read the kubeconfig %s: %w", file, err)
		}
		for _, context := range config.Contexts {
			names = append(names, context.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no contexts in the kubeconfig: %s: set KUBECONFIG to a file with contexts", strings.Join(files, ", "))
	}
	return names, nil
}
