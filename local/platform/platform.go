// Package platform is the whole of the local platform: tools, node and stack, as
// the commands up, stop, down and status.
package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"platform.example/local/deploy"
	"platform.example/local/host"
	"platform.example/local/image"
	"platform.example/local/layout"
	"platform.example/local/node"
	"platform.example/local/progress"
	"platform.example/local/toolchain"
)

// Options are what a person can choose.
type Options struct {
	// Context is a kube context to deploy to; empty: a node of our own.
	Context string
	// Registry is where the images for that context go.
	Registry string
	// IPv6 gives a new node of our own IPv6 addresses, too.
	IPv6 bool
}

// Platform is the one that the options name.
type Platform struct {
	layout  layout.Layout
	options Options
	log     *progress.Log
	out     io.Writer
}

// New finds the layout. It changes nothing.
func New(options Options, out io.Writer) (*Platform, error) {
	l, err := layout.Find(options.Context)
	if err != nil {
		return nil, err
	}
	return &Platform{layout: l, options: options, log: progress.New(out), out: out}, nil
}

func (p *Platform) ownNode() bool { return p.options.Context == "" }

// lockFile keeps runs on the same platform apart.
func (p *Platform) lockFile() string {
	if p.ownNode() {
		return layout.Lock
	}
	return p.layout.State + ".lock"
}

func (p *Platform) builder() *toolchain.Builder {
	tools := toolchain.PulumiTools()
	if p.ownNode() {
		tools = append(toolchain.NodeTools(), tools...)
		tools = append(tools, toolchain.Traefik())
		tools = append(tools, toolchain.MonitoringTools()...)
	}
	return p.builderOf(tools, p.log)
}

func (p *Platform) builderOf(tools []toolchain.Tool, log *progress.Log) *toolchain.Builder {
	families := filepath.Join(p.layout.Repo, "local", "toolchain")
	return toolchain.NewBuilder(families, filepath.Join(p.layout.Cache, "tools"), p.layout.Bin(), p.layout.PulumiHome(), tools, log)
}

// target is where the stack goes.
func (p *Platform) target(n *node.Node) deploy.Target {
	if !p.ownNode() {
		return deploy.Target{Context: p.options.Context, Registry: p.options.Registry}
	}
	return deploy.Target{Kubeconfig: p.layout.Kubeconfig(), Registry: node.Registry, Docker: n.Docker()}
}

// Up brings up the node, unless a context is given, and deploys the stack to it.
func (p *Platform) Up(ctx context.Context) error {
	tools := p.builder()
	if p.ownNode() {
		if err := host.Check(); err != nil {
			return err
		}
	} else if err := deploy.New(p.layout, p.log).CheckTarget(p.target(nil)); err != nil {
		return err
	}
	unlock, err := host.Lock(p.lockFile(), "up")
	if err != nil {
		return err
	}
	defer unlock()
	if p.ownNode() {
		if err := host.CheckDisk(tools.Cold(), p.layout.Cache, p.layout.State); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(p.layout.State, 0o711); err != nil {
		return fmt.Errorf("the platform's folder: %w", err)
	}

	n := node.New(p.layout, tools, p.log)
	stack := deploy.New(p.layout, p.log)
	var without []string
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() error { return tools.Run(groupContext) })
	group.Go(func() error { return stack.Compile(groupContext, tools) })
	if p.ownNode() {
		group.Go(func() (err error) {
			without, err = p.bringUp(groupContext, n, tools)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := stack.Up(ctx, p.target(n), without...); err != nil {
		return err
	}
	return p.welcome(ctx, stack, p.target(n))
}

// bringUp starts the node and fills its registry. It returns the settings that are false since their images can't be had.
func (p *Platform) bringUp(ctx context.Context, n *node.Node, tools *toolchain.Builder) (without []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if err := n.Up(ctx, self, p.options.IPv6); err != nil {
		return nil, err
	}
	upstreams, err := image.ReadUpstreams(filepath.Join(p.layout.Repo, "infra", "image", "upstream.json"))
	if err != nil {
		return nil, err
	}
	for _, upstream := range upstreams {
		there, err := image.Provide(ctx, node.Registry, filepath.Join(p.layout.Cache, "images"), upstream, tools, p.log)
		if err != nil {
			return nil, err
		}
		if !there {
			p.log.Say("image %s: can't be pulled: the platform goes without it, %s is false", upstream.Image, upstream.Optional)
			without = append(without, upstream.Optional)
		}
	}
	return without, n.AwaitPods(ctx)
}

// Tools prints the paths of tools for monitoring, one per line, and compiles those that aren't there yet: unit tests call
// promtool and amtool where nothing is up. What it does meanwhile goes to stderr.
func (p *Platform) Tools(ctx context.Context, names ...string) error {
	builder := p.builderOf(toolchain.MonitoringTools(), progress.New(os.Stderr))
	for _, name := range names {
		path, err := builder.Path(ctx, name)
		if err != nil {
			return err
		}
		fmt.Fprintln(p.out, path)
	}
	return nil
}

// Stop ends the node and keeps what it stored.
func (p *Platform) Stop(ctx context.Context) error {
	if !p.ownNode() {
		return errors.New("stop is for the node on this machine: a platform on another cluster goes on until make down CONTEXT=<kube context>")
	}
	unlock, err := host.Lock(p.lockFile(), "stop")
	if err != nil {
		return err
	}
	defer unlock()
	if err := deploy.New(p.layout, p.log).EndOrphans(); err != nil {
		return err
	}
	if err := node.New(p.layout, nil, p.log).Stop(ctx); err != nil {
		return err
	}
	p.log.Say("stopped; what it stored is kept in %s: make up goes on from there", p.layout.State)
	return nil
}

// Down takes everything away: on a node of our own, the node itself with all that
// it stored; on another cluster, what the stack put there. Only the cache of
// compiled tools stays.
func (p *Platform) Down(ctx context.Context) error {
	unlock, err := host.Lock(p.lockFile(), "down")
	if err != nil {
		return err
	}
	defer unlock()
	stack := deploy.New(p.layout, p.log)
	if p.ownNode() {
		if os.Geteuid() != 0 {
			return errors.New("not root: run it with sudo make down")
		}
		if err := node.New(p.layout, nil, p.log).Remove(ctx); err != nil {
			return err
		}
	} else if _, err := os.Stat(p.layout.Pulumi()); err == nil {
		if err := stack.Destroy(ctx, p.target(nil)); err != nil {
			return err
		}
	}
	if err := errors.Join(stack.EndOrphans(), stack.Forget()); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(p.layout.State), os.RemoveAll(filepath.Join(p.layout.Repo, authorityFile))); err != nil {
		return fmt.Errorf("remove the platform's folder: %w", err)
	}
	if !p.ownNode() { // the node's own is the machine's
		if err := os.Remove(p.lockFile()); err != nil {
			return fmt.Errorf("remove the lock file: %w", err)
		}
	}
	p.log.Say("down: nothing is left but the compiled tools in %s, and bin and .build in this folder", p.layout.Cache)
	return nil
}
