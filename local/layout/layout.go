// Package layout defines the paths of the local platform on this machine.
package layout

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

const (
	// State holds all data of a running platform; `make down` removes the whole folder.
	State = "/var/lib/platform"
	// Lock is locked by the run that changes the platform. It lies outside State, because the run that removes State
	// must hold the lock to the end.
	Lock = "/run/lock/platform.lock"
)

// Layout is the set of folders of one platform.
type Layout struct {
	Repo  string // root of the clone in which the command was called
	State string // removed by `make down`: node, volumes, Pulumi state, certificates, logs
	Cache string // kept by `make down`: tools and root file systems of images
}

// Find returns the layout for a command that is called anywhere inside a clone. With a kube context, the state belongs to a
// platform on another cluster and lies in the user's folders instead of the machine's.
func Find(context string) (Layout, error) {
	repo, err := repoRoot()
	if err != nil {
		return Layout{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return Layout{}, fmt.Errorf("no cache folder: %w; set HOME or XDG_CACHE_HOME", err)
	}
	l := Layout{Repo: repo, State: State, Cache: filepath.Join(cache, "platform")}
	if context != "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return Layout{}, fmt.Errorf("no configuration folder: %w; set HOME or XDG_CONFIG_HOME", err)
		}
		l.State = filepath.Join(config, "platform", "context-"+url.PathEscape(context))
	}
	return l, nil
}

// repoRoot walks up from the working folder to the folder that contains Pulumi.yaml.
func repoRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "Pulumi.yaml")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no Pulumi.yaml in %s or above it: run the command inside the repository", start)
		}
	}
}

// Bin is the folder that `make env` adds to PATH: links to the tools in use.
func (l Layout) Bin() string { return filepath.Join(l.State, "bin") }

// Pulumi is the folder of the state backend, the passphrase and the stack's configuration.
func (l Layout) Pulumi() string { return filepath.Join(l.State, "pulumi") }

// PulumiHome is Pulumi's own folder, which contains downloaded plugins.
func (l Layout) PulumiHome() string { return filepath.Join(l.Cache, "pulumi-home") }

// Node is the folder of the one-node Kubernetes.
func (l Layout) Node() string { return filepath.Join(l.State, "node") }

// Logs contains one log per component of the node.
func (l Layout) Logs() string { return filepath.Join(l.Node(), "logs") }

// Socket is the path of the supervisor's Unix socket.
func (l Layout) Socket() string { return filepath.Join(l.Node(), "run", "supervisor.sock") }

// Kubeconfig is the administrator's kubeconfig of the node.
func (l Layout) Kubeconfig() string { return filepath.Join(l.Node(), "admin.kubeconfig") }
