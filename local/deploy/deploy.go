// Package deploy runs the Pulumi program against a cluster: it keeps the state
// backend, the passphrase and the stack's configuration, and calls the pulumi
// command line as a person would from the root of the repository.
package deploy

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"platform.example/local/file"
	"platform.example/local/layout"
	"platform.example/local/progress"
)

// Stack is the name of the stack that runs on this machine or on a given context.
const Stack = "local"

// Target is the cluster and the registry that a stack deploys to.
type Target struct {
	// Kubeconfig is the path of the cluster's kubeconfig; empty: the person's own.
	Kubeconfig string
	// Context is the kubeconfig's context; empty: its current one.
	Context string
	// Registry is where images are pushed to: <host>[:<port>][/<path>].
	Registry string
	// Docker is the address of the Docker Engine that builds; empty: the person's own.
	Docker string
}

// Deployment is the stack of one layout.
type Deployment struct {
	layout layout.Layout
	log    *progress.Log
}

// New describes the stack; nothing is read or written yet.
func New(l layout.Layout, log *progress.Log) *Deployment { return &Deployment{layout: l, log: log} }

func (d *Deployment) file(parts ...string) string {
	return filepath.Join(append([]string{d.layout.Pulumi()}, parts...)...)
}

// Environment is what a shell needs for pulumi and kubectl to reach the platform.
// Each entry is NAME=value; PATH isn't among them.
func (d *Deployment) Environment(target Target) []string {
	environment := []string{
		"PULUMI_BACKEND_URL=file://" + d.file("backend"),
		"PULUMI_CONFIG_PASSPHRASE_FILE=" + d.file("passphrase"),
		"PULUMI_HOME=" + d.layout.PulumiHome(),
		"PULUMI_SKIP_UPDATE_CHECK=true",
		// The cluster is for one user: the provider's limits for shared ones only slow it.
		"PULUMI_K8S_CLIENT_QPS=200",
		"PULUMI_K8S_CLIENT_BURST=400",
	}
	if target.Kubeconfig != "" {
		environment = append(environment, "KUBECONFIG="+target.Kubeconfig)
	}
	if target.Docker != "" {
		environment = append(environment, "DOCKER_HOST="+target.Docker)
	}
	return environment
}

// Up makes the cluster what the program says, without what the settings named stand for.
func (d *Deployment) Up(ctx context.Context, target Target, without ...string) error {
	if err := d.prepare(ctx, target); err != nil {
		return err
	}
	for _, setting := range without {
		if err := d.run(ctx, target, nil, "pulumi", "config", "set", "--path", "platform:"+setting, "false", "--stack", Stack, "--non-interactive"); err != nil {
			return fmt.Errorf("set %s to false: %w", setting, err)
		}
	}
	d.log.Say("secrets: generating what is missing")
	if err := d.run(ctx, target, nil, filepath.Join(d.layout.Bin(), "secrets"), "-stack", Stack); err != nil {
		return fmt.Errorf("generate secrets: %w", err)
	}
	d.log.Say("pulumi up")
	if err := d.run(ctx, target, os.Stdout, "pulumi", "up", "--yes", "--skip-preview", "--suppress-outputs", "--stack", Stack); err != nil {
		return fmt.Errorf("pulumi up: %w", err)
	}
	return nil
}

// Destroy takes everything off the cluster that the program put there.
func (d *Deployment) Destroy(ctx context.Context, target Target) error {
	if err := d.prepare(ctx, target); err != nil {
		return err
	}
	if err := d.run(ctx, target, os.Stdout, "pulumi", "destroy", "--yes", "--skip-preview", "--stack", Stack); err != nil {
		return fmt.Errorf("pulumi destroy: %w", err)
	}
	return nil
}

// Outputs is what people and commands want to know of the stack.
type Outputs struct {
	// URL is where the platform is reached.
	URL string `json:"url"`
	// Authority is who signs the certificate at the URL, in PEM; empty where every client knows.
	Authority string `json:"certificateAuthority"`
	// DemoEmail and DemoPassword sign the demo user in; empty where there is none.
	DemoEmail    string `json:"demoEmail"`
	DemoPassword string `json:"demoPassword"`
}

// Outputs reads the stack's outputs, secret ones too.
func (d *Deployment) Outputs(ctx context.Context, target Target) (Outputs, error) {
	var text bytes.Buffer
	if err := d.run(ctx, target, &text, "pulumi", "stack", "output", "--json", "--show-secrets", "--stack", Stack, "--non-interactive"); err != nil {
		return Outputs{}, fmt.Errorf("outputs of stack %s: %w", Stack, err)
	}
	var outputs Outputs
	if err := json.Unmarshal(text.Bytes(), &outputs); err != nil {
		return Outputs{}, fmt.Errorf("outputs of stack %s: they are not what pulumi stack output --json prints", Stack)
	}
	if outputs.URL == "" {
		return Outputs{}, fmt.Errorf("outputs of stack %s: there is no url: run make up", Stack)
	}
	return outputs, nil
}

// Resources counts the resources in the stack's state.
func (d *Deployment) Resources(ctx context.Context, target Target) (int, error) {
	var output bytes.Buffer
	if err := d.run(ctx, target, &output, "pulumi", "stack", "export", "--stack", Stack, "--non-interactive"); err != nil {
		return 0, fmt.Errorf("state of stack %s: %w", Stack, err)
	}
	var state struct {
		Deployment struct {
			Resources []json.RawMessage `json:"resources"`
		} `json:"deployment"`
	}
	if err := json.Unmarshal(output.Bytes(), &state); err != nil {
		return 0, fmt.Errorf("state of stack %s: %w", Stack, err)
	}
	return len(state.Deployment.Resources), nil
}

// prepare makes backend, passphrase, configuration and stack where they are missing,
// and takes over from a run that was killed.
func (d *Deployment) prepare(ctx context.Context, target Target) error {
	if err := os.MkdirAll(d.file("backend"), 0o700); err != nil {
		return fmt.Errorf("state backend: %w", err)
	}
	if err := d.ensurePassphrase(); err != nil {
		return err
	}
	if err := d.ensureConfiguration(target); err != nil {
		return err
	}
	if err := d.EndOrphans(); err != nil {
		return err
	}
	if err := d.mendState(); err != nil {
		return err
	}
	if _, err := os.Stat(d.stateFile()); errors.Is(err, os.ErrNotExist) {
		if err := d.run(ctx, target, nil, "pulumi", "stack", "init", Stack, "--non-interactive"); err != nil {
			return fmt.Errorf("make stack %s: %w", Stack, err)
		}
	}
	if err := d.releaseDeadLocks(ctx, target); err != nil {
		return err
	}
	return d.settlePending(ctx, target)
}

// ensurePassphrase draws the passphrase that encrypts the stack's secrets.
func (d *Deployment) ensurePassphrase() error {
	path := d.file("passphrase")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	drawn := make([]byte, 32)
	_, _ = rand.Read(drawn) // never fails: it ends the program instead
	return file.Write(path, []byte(base64.RawURLEncoding.EncodeToString(drawn)), 0o600)
}

// ensureConfiguration keeps Pulumi.local.yaml with the state that it belongs to,
// and a link to it in the clone, where Pulumi looks for it. Its secrets fit only
// that state, so every clone on the machine sees the same file.
func (d *Deployment) ensureConfiguration(target Target) error {
	path := d.file(configurationFile)
	if current, err := os.ReadFile(path); err == nil {
		if target.Registry != "" && !strings.Contains(string(current), "platform:registry: "+target.Registry+"\n") {
			return fmt.Errorf("%s names another registry than %s: change it with pulumi config set platform:registry, or run make down first", path, target.Registry)
		}
	} else {
		content := "# Made by make up.\nconfig:\n  platform:registry: " + target.Registry + "\n"
		if target.Kubeconfig != "" {
			content += "  platform:kubeconfig: " + target.Kubeconfig + "\n"
		}
		if target.Context != "" {
			content += "  platform:kubeContext: " + target.Context + "\n"
		}
		if err := file.Write(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return d.Link()
}

// configurationFile is the stack's configuration, by the name under which Pulumi looks for it.
const configurationFile = "Pulumi." + Stack + ".yaml"

// Link links the stack's configuration, if there is one, into the clone, so that Pulumi uses the one that belongs to the state.
func (d *Deployment) Link() error {
	path := d.file(configurationFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	link := filepath.Join(d.layout.Repo, configurationFile)
	info, err := os.Lstat(link)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("configuration of stack %s: %w", Stack, err)
	case info.Mode()&os.ModeSymlink == 0:
		return fmt.Errorf("%s is a file of its own, but make up keeps it at %s: move it away", link, path)
	default:
		if current, _ := os.Readlink(link); current == path {
			return nil
		}
		if err := os.Remove(link); err != nil {
			return fmt.Errorf("configuration of stack %s: %w", Stack, err)
		}
	}
	if err := os.Symlink(path, link); err != nil {
		return fmt.Errorf("configuration of stack %s: %w", Stack, err)
	}
	return nil
}

// Forget removes the clone's link to the stack's configuration.
func (d *Deployment) Forget() error {
	link := filepath.Join(d.layout.Repo, configurationFile)
	if current, _ := os.Readlink(link); filepath.Dir(current) == d.layout.Pulumi() {
		return os.Remove(link)
	}
	return nil
}

// takeOver lets the provider take what a killed update had made but not noted, instead of refusing it. A shell doesn't get
// it from make env: there it would hold for other stacks too, whose clusters have other owners.
const takeOver = "PULUMI_K8S_ENABLE_PATCH_FORCE=true"

// run calls a program from the root of the repository. Without a writer, what it
// says is kept for the error.
func (d *Deployment) run(ctx context.Context, target Target, stdout io.Writer, name string, args ...string) error {
	if !strings.Contains(name, "/") {
		name = filepath.Join(d.layout.Bin(), name)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	// Pulumi stops in an orderly way when it is interrupted, and keeps its state whole.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir = d.layout.Repo
	cmd.Env = append(os.Environ(), d.Environment(target)...)
	cmd.Env = append(cmd.Env, "PATH="+d.layout.Bin()+":"+os.Getenv("PATH"), takeOver)
	var said bytes.Buffer
	cmd.Stderr = &said
	switch stdout {
	case nil:
		cmd.Stdout = &said
	case os.Stdout:
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	default:
		cmd.Stdout = stdout
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}
