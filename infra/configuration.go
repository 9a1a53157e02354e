package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// configuration is all that the engine hands over. A pulumi.Context gives the value of a key, but not the keys that
// are there, and so would miss the misspelt.
type configuration struct {
	values map[string]string
	secret []string // the keys whose values are secret
}

// capture is an option of pulumi.Run that takes hold of the configuration.
func (c *configuration) capture(info *pulumi.RunInfo) {
	c.values, c.secret = info.Config, info.ConfigSecretKeys
}

// load checks the configuration of a stack, its secrets too.
func (c configuration) load(name string, services []catalog.Service) (stack.Stack, secret.Secrets, error) {
	plain, hidden := map[string]string{}, map[string]string{}
	for key, value := range c.values {
		name, ours := strings.CutPrefix(key, stack.Namespace+":")
		switch {
		case !ours: // another namespace's, such as that of a provider
		case slices.Contains(catalog.Former(), name):
		case slices.Contains(c.secret, key):
			hidden[name] = value
		default:
			plain[name] = value
		}
	}
	config, err := stack.Parse(name, services, plain, slices.Collect(maps.Keys(hidden)))
	if err != nil {
		return config, secret.Secrets{}, err
	}
	wanted := append(catalog.Secrets(services, config.Environment == stack.Local), catalog.GivenSecrets(config.Monitoring.WebhookNetwork != "")...)
	secrets, err := secret.Read(name, wanted, hidden)
	return config, secrets, err
}

// projectRoot is the folder of Pulumi.yaml, relative to the working folder: what is derived from it is the same on
// every machine.
func projectRoot() (string, error) {
	for _, folder := range []string{".", ".."} {
		_, err := os.Stat(filepath.Join(folder, "Pulumi.yaml"))
		if err == nil {
			return folder, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the project: %w", err)
		}
	}
	return "", errors.New("find the project: no Pulumi.yaml here or one folder up: run pulumi from the repository's root")
}

// within is the path of a file that the configuration names relative to the project's root.
func within(root, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}
