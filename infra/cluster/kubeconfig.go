// Package cluster connects to the Kubernetes cluster of a stack.
package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// server is where a context's API server answers.
type server struct {
	context  string
	URL      string `yaml:"server"`
	ProxyURL string `yaml:"proxy-url"`
}

// kubeconfig is the part of a kubeconfig file that says which server a context means.
type kubeconfig struct {
	CurrentContext string `yaml:"current-context"`
	Contexts       []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Clusters []struct {
		Name    string `yaml:"name"`
		Cluster server `yaml:"cluster"`
	} `yaml:"clusters"`
}

// server finds the context and its server.
func (t Target) server() (server, error) {
	paths, context := []string{t.Kubeconfig}, t.Context
	if t.Kubeconfig == "" {
		var err error
		if paths, err = usualPlaces(); err != nil {
			return server{}, err
		}
	}
	merged, err := merge(paths)
	if err != nil {
		return server{}, err
	}
	places := strings.Join(paths, ", ")
	if context == "" {
		context = merged.CurrentContext
	}
	if context == "" {
		return server{}, fmt.Errorf("kubeconfig %s: no current context: set platform:kubeconfig or platform:kubeContext", places)
	}
	for _, named := range merged.Contexts {
		if named.Name != context {
			continue
		}
		for _, cluster := range merged.Clusters {
			if cluster.Name == named.Context.Cluster {
				cluster.Cluster.context = context
				return cluster.Cluster, nil
			}
		}
	}
	return server{}, fmt.Errorf("kubeconfig %s: no context %q with a cluster: set platform:kubeContext to one that it holds",
		places, context)
}

// usualPlaces is where kubectl looks: $KUBECONFIG, else ~/.kube/config.
func usualPlaces() ([]string, error) {
	if list := os.Getenv("KUBECONFIG"); list != "" {
		return filepath.SplitList(list), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("find the kubeconfig: %w", err)
	}
	return []string{filepath.Join(home, ".kube", "config")}, nil
}

// merge reads the files as kubectl does: the first to name a thing wins, and of several files some may be absent.
func merge(paths []string) (kubeconfig, error) {
	var merged kubeconfig
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && len(paths) > 1 {
			continue
		}
		if err != nil {
			return kubeconfig{}, fmt.Errorf("read the kubeconfig: %w: set platform:kubeconfig to where it is", err)
		}
		var file kubeconfig
		if err := yaml.Unmarshal(content, &file); err != nil {
			return kubeconfig{}, fmt.Errorf("read the kubeconfig %s: %w", path, err)
		}
		if merged.CurrentContext == "" {
			merged.CurrentContext = file.CurrentContext
		}
		merged.Contexts = append(merged.Contexts, file.Contexts...)
		merged.Clusters = append(merged.Clusters, file.Clusters...)
	}
	return merged, nil
}
