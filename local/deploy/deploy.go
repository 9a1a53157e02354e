// Package deploy runs the Pulumi program against a cluster. It manages the state backend, the passphrase and the stack's
// configuration, and runs the pulumi command line in the root of the repository.
package deploy

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"platform.example/local/file"
	"platform.example/local/layout"
	"platform.example/local/progress"
	"platform.example/local/toolchain"
)

// Stack is the name of the stack, both on this machine and on a given context.
const Stack = "local"

// Target is the cluster and the registry that a stack deploys to.
type Target struct {
	Kubeconfig string // path of the cluster's kubeconfig; empty: the user's own
	Context    string // of the kubeconfig; empty: its current one
	Registry   string // where images are pushed to: <host>[:<port>][/<path>]
	Docker     string // address of the Docker Engine that builds; empty: the user's own
}

// Deployment is the stack of one layout.
type Deployment struct {
	layout layout.Layout
	log    *progress.Log
}

// New returns the deployment; it neither reads nor writes files.
func New(l layout.Layout, log *progress.Log) *Deployment { return &Deployment{layout: l, log: log} }

func (d *Deployment) file(parts ...string) string {
	return filepath.Join(append([]string{d.layout.Pulumi()}, parts...)...)
}

// Environment returns the variables that pulumi and kubectl need to reach the platform, as NAME=value. PATH isn't included.
func (d *Deployment) Environment(target Target) []string {
	environment := []string{
		"PULUMI_BACKEND_URL=file://" + d.file("backend"),
		"PULUMI_CONFIG_PASSPHRASE_FILE=" + d.file("passphrase"),
		"PULUMI_HOME=" + d.layout.PulumiHome(),
		"PULUMI_SKIP_UPDATE_CHECK=true",
		// The cluster has one user: the provider's limits for shared clusters only slow it down.
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

// Begin creates the stack and its secrets, unless the stack exists. The node may still be starting.
func (d *Deployment) Begin(ctx context.Context, target Target) error {
	if _, err := os.Stat(d.stateFile()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := d.prepare(ctx, target); err != nil {
		return err
	}
	return d.generateSecrets(ctx, target)
}

func (d *Deployment) generateSecrets(ctx context.Context, target Target) error {
	d.log.Say("generating missing secrets")
	if err := d.run(ctx, target, nil, filepath.Join(d.layout.Bin(), "secrets"), "-stack", Stack); err != nil {
		return fmt.Errorf("generate secrets: %w", err)
	}
	return nil
}

// Up runs pulumi up. It first writes settings of the form name=value, or name?=value if they are not set, into the stack's configuration.
func (d *Deployment) Up(ctx context.Context, target Target, settings ...string) error {
	if err := d.prepare(ctx, target); err != nil {
		return err
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		name, missing := strings.CutSuffix(name, "?")
		if missing && d.run(ctx, target, nil, "pulumi", "config", "get", "--path", "platform:"+name, "--stack", Stack, "--non-interactive") == nil {
			continue
		}
		if err := d.run(ctx, target, nil, "pulumi", "config", "set", "--path", "platform:"+name, value, "--stack", Stack, "--non-interactive"); err != nil {
			return fmt.Errorf("set %s: %w", setting, err)
		}
	}
	if err := d.generateSecrets(ctx, target); err != nil {
		return err
	}
	d.log.Say("pulumi up")
	if err := d.run(ctx, target, os.Stdout, "pulumi", "up", "--yes", "--skip-preview", "--suppress-outputs", "--stack", Stack); err != nil {
		return fmt.Errorf("pulumi up: %w", err)
	}
	return nil
}

// Destroy deletes all resources of the stack from the cluster.
func (d *Deployment) Destroy(ctx context.Context, target Target) error {
	if err := d.prepare(ctx, target); err != nil {
		return err
	}
	if err := d.run(ctx, target, os.Stdout, "pulumi", "destroy", "--yes", "--skip-preview", "--stack", Stack); err != nil {
		return fmt.Errorf("pulumi destroy: %w", err)
	}
	return nil
}

// Outputs are the stack outputs that users and commands need.
type Outputs struct {
	URL       string `json:"url"`                  // address of the platform
	Version   string `json:"version"`              // of the platform; empty before 0.9.0
	Authority string `json:"certificateAuthority"` // of the URL, in PEM; empty if clients trust it by default
	// DemoEmail and DemoPassword sign the demo user in; empty if there is no demo user.
	DemoEmail    string `json:"demoEmail"`
	DemoPassword string `json:"demoPassword"`
}

// Outputs returns the stack's outputs, including the secret ones.
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

// Resources returns the number of resources in the stack's state.
func (d *Deployment) Resources() (int, error) {
	current, err := d.readState()
	return len(current.Resources), err
}

// prepare creates the missing ones of backend, passphrase, configuration and stack, and recovers from a killed run.
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
	d.EndOrphans()
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

// ensurePassphrase generates the passphrase that encrypts the stack's secrets, unless it exists.
func (d *Deployment) ensurePassphrase() error {
	path := d.file("passphrase")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	drawn := make([]byte, 32)
	_, _ = rand.Read(drawn) // never returns an error
	return file.Write(path, []byte(base64.RawURLEncoding.EncodeToString(drawn)), 0o600)
}

// ensureConfiguration creates Pulumi.local.yaml beside the state and links it into the clone, where Pulumi looks for it.
// Its secrets fit only that state, so every clone on the machine uses the same file.
func (d *Deployment) ensureConfiguration(target Target) error {
	path := d.file(configurationFile)
	if current, err := os.ReadFile(path); err == nil {
		if target.Registry != "" && !strings.Contains(string(current), "platform:registry: "+target.Registry+"\n") {
			return fmt.Errorf("%s names another registry than %s: change it with pulumi config set platform:registry, or run make down first", path, target.Registry)
		}
	} else {
		content := "# Created by make up.\nconfig:\n  platform:registry: " + target.Registry + "\n"
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

// configurationFile is the path of the stack's configuration, with the name that Pulumi expects.
const configurationFile = "Pulumi." + Stack + ".yaml"

// Link links the stack's configuration, if it exists, into the clone, so that Pulumi uses the configuration that fits the state.
func (d *Deployment) Link() error {
	path := d.file(configurationFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	link := filepath.Join(d.layout.Repo, configurationFile)
	if info, err := os.Lstat(link); err == nil && info.Mode()&os.ModeSymlink == 0 {
		return fmt.Errorf("%s is a regular file, but make up keeps the configuration at %s: move it away", link, path)
	}
	if err := toolchain.Link(path, link); err != nil {
		return fmt.Errorf("configuration of stack %s: %w", Stack, err)
	}
	return nil
}

// Forget removes the link to the stack's configuration from the clone.
func (d *Deployment) Forget() error {
	link := filepath.Join(d.layout.Repo, configurationFile)
	if current, _ := os.Readlink(link); filepath.Dir(current) == d.layout.Pulumi() {
		return os.Remove(link)
	}
	return nil
}

// takeOver lets the provider adopt objects that a killed update created but didn't record, instead of refusing them. `make env` doesn't
// print it, because in a shell it would also apply to other stacks, whose clusters have other owners.
const takeOver = "PULUMI_K8S_ENABLE_PATCH_FORCE=true"

// run runs a program in the root of the repository. Its error contains the program's stderr, and its stdout if out is nil.
func (d *Deployment) run(ctx context.Context, target Target, stdout io.Writer, name string, args ...string) error {
	if !strings.Contains(name, "/") {
		name = filepath.Join(d.layout.Bin(), name)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	// An interrupted Pulumi stops cleanly and keeps its state intact.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Dir = d.layout.Repo
	cmd.Env = append(os.Environ(), d.Environment(target)...)
	cmd.Env = append(cmd.Env, "PATH="+d.layout.Bin()+":"+os.Getenv("PATH"), takeOver)
	if os.Getenv("GOGC")+os.Getenv("GOMEMLIMIT") == "" { // Pulumi writes its state after each step, and the garbage collector would take a sixth of the time
		cmd.Env = append(cmd.Env, "GOGC=400", "GOMEMLIMIT=512MiB")
	}
	var printed bytes.Buffer
	cmd.Stderr = &printed
	switch stdout {
	case nil:
		cmd.Stdout = &printed
	case os.Stdout:
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	default:
		cmd.Stdout = stdout
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(printed.String()))
	}
	return nil
}

// dockerPlugin is the version that the program's SDK requires.
var dockerPlugin = toolchain.Plugin{Name: "docker", Version: "4.11.2"}

// Compile prepares the programs beside Pulumi's own tools: the program itself, the command that generates its secrets, and the
// docker plugin if the real one can't be downloaded. With an unchanged source, the Go build cache makes it fast.
func (d *Deployment) Compile(ctx context.Context, tools *toolchain.Builder) error {
	started := time.Now()
	if err := d.goBuild(ctx, "infra", filepath.Join(d.layout.Bin(), "secrets"), "./cmd/secrets"); err != nil {
		return err
	}
	host, err := tools.Path(ctx, toolchain.LanguageHost)
	if err != nil {
		return err
	}
	if err := d.goBuild(ctx, "infra", filepath.Join(d.layout.Repo, ".build", "program"), "."); err != nil {
		return err // the language host would report the same
	}
	if took := time.Since(started).Round(time.Second); took > 2*time.Second {
		d.log.Say("compiled the Pulumi program in %s", took)
	}
	pulumi, err := tools.Path(ctx, "pulumi")
	if err != nil {
		return err
	}
	if strings.HasPrefix(pulumi, d.layout.Cache) { // one from PATH has its own language host
		if err := d.writeLanguageHost(filepath.Join(filepath.Dir(pulumi), toolchain.LanguageHost), host); err != nil {
			return err
		}
	}
	return d.provideDockerPlugin(ctx, tools)
}

//go:embed language-host.sh
var languageHost string

// writeLanguageHost wraps Pulumi's language host for Go, which would compile and link the program at every run. The wrapper
// keeps the binary beside the sources and compiles it only after a source has changed: the Go command takes seconds to detect
// that nothing has changed, and Pulumi calls its host twice. If the compilation fails, the real host reports the error. The
// wrapper lies beside pulumi, where Pulumi looks first.
func (d *Deployment) writeLanguageHost(path, host string) error {
	return file.Write(path, []byte(strings.ReplaceAll(languageHost, "HOST", host)), 0o755)
}

// provideDockerPlugin installs the platform's docker plugin unless the real one is installed or can be downloaded.
func (d *Deployment) provideDockerPlugin(ctx context.Context, tools *toolchain.Builder) error {
	compiled := filepath.Join(d.layout.Cache, dockerPlugin.Program())
	if _, err := os.Stat(compiled); err != nil && tools.DownloadPlugin(ctx, dockerPlugin) {
		return nil
	}
	if err := d.goBuild(ctx, "local", compiled, "./cmd/"+dockerPlugin.Program()); err != nil {
		return err
	}
	return dockerPlugin.Install(d.layout.PulumiHome(), compiled)
}

// goBuild compiles a main package of one of the repository's modules.
func (d *Deployment) goBuild(ctx context.Context, module, target, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", target, pkg)
	cmd.Dir = filepath.Join(d.layout.Repo, module)
	// Without the workspace: the program then runs with the versions that its own module's tests use.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s in %s: %w\n%s", pkg, module, err, strings.TrimSpace(string(output)))
	}
	return nil
}
