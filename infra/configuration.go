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

// load parses the configuration of a stack and its secrets. It reads the engine's complete configuration: a pulumi.Context doesn't list
// the keys, so misspelt keys would go unnoticed.
func load(name string, info pulumi.RunInfo, services []catalog.Service) (stack.Stack, secret.Secrets, error) {
	plain, hidden := map[string]string{}, map[string]string{}
	for key, value := range info.Config {
		name, ours := strings.CutPrefix(key, stack.Namespace+":")
		switch {
		case !ours: // of another namespace, such as a provider's
		case slices.Contains(catalog.Former(), name):
		case slices.Contains(info.ConfigSecretKeys, key) && value == "": // counts as missing
		case slices.Contains(info.ConfigSecretKeys, key):
			hidden[name] = value
		default:
			plain[name] = value
		}
	}
	config, err := stack.Parse(name, services, plain, slices.Collect(maps.Keys(hidden)))
	if err != nil {
		return config, secret.Secrets{}, err
	}
	known := append(catalog.Secrets(services, config.Environment == stack.Local), catalog.GivenSecrets(config.Monitoring.WebhookNetwork != "")...)
	secrets, err := secret.Read(name, known, hidden)
	return config, secrets, err
}

// projectRoot returns the folder of Pulumi.yaml relative to the working folder. Paths that derive from it are the same on all machines.
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
	return "", errors.New("find the project: no Pulumi.yaml here or in the parent folder: run pulumi in the repository's root")
}

// within resolves a path of the configuration, which is relative to the project's root.
func within(root, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}
