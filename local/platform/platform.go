// Package platform is the local platform, with tools, node and stack, and implements the commands up, stop, down and status.
package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"platform.example/local/deploy"
	"platform.example/local/host"
	"platform.example/local/image"
	"platform.example/local/layout"
	"platform.example/local/node"
	"platform.example/local/progress"
	"platform.example/local/reach"
	"platform.example/local/toolchain"
)

// Options are the options of the command line.
type Options struct {
	Context  string // kube context to deploy to; empty: the local node
	Registry string // for the images of that context
	IPv6     bool   // make a new local node dual-stack
	NodeOnly bool   // start the local node, and deploy nothing to it
	Nodes    int    // number of local nodes; 0 keeps it
}

// Platform is the platform that the options select.
type Platform struct {
	layout  layout.Layout
	options Options
	log     *progress.Log
	stack   *deploy.Deployment
	out     io.Writer
}

// New finds the layout and returns the platform. It changes nothing.
func New(options Options, out io.Writer) (*Platform, error) {
	l, err := layout.Find(options.Context)
	if err != nil {
		return nil, err
	}
	log := progress.New(out)
	return &Platform{layout: l, options: options, log: log, stack: deploy.New(l, log), out: out}, nil
}

func (p *Platform) ownNode() bool { return p.options.Context == "" }

// lockFile is the lock that excludes concurrent runs on the same platform.
func (p *Platform) lockFile() string {
	if p.ownNode() {
		return layout.Lock
	}
	return p.layout.State + ".lock"
}

// lock excludes concurrent runs. Only root can change the node on this machine, and open its lock.
func (p *Platform) lock(verb string) (unlock func(), err error) {
	if p.ownNode() && os.Geteuid() != 0 {
		return nil, fmt.Errorf("not root: run it with sudo make %s", verb)
	}
	return host.Lock(p.lockFile(), verb)
}

func (p *Platform) builder() *toolchain.Builder {
	var tools []toolchain.Tool
	if !p.options.NodeOnly {
		tools = toolchain.PulumiTools()
	}
	if p.ownNode() {
		tools = append(toolchain.NodeTools(), tools...)
		tools = append(tools, toolchain.Traefik())
		tools = append(tools, toolchain.MonitoringTools()...)
	}
	return p.builderOf(tools, p.log)
}

func (p *Platform) builderOf(tools []toolchain.Tool, log *progress.Log) *toolchain.Builder {
	families, cache := filepath.Join(p.layout.Repo, "local", "toolchain"), filepath.Join(p.layout.Cache, "tools")
	return toolchain.NewBuilder(families, cache, p.layout.Bin(), p.layout.PulumiHome(), tools, reach.New(reach.Limit, log), log)
}

// target returns the target of the deployment.
func (p *Platform) target(n *node.Node) deploy.Target {
	if !p.ownNode() {
		return deploy.Target{Context: p.options.Context, Registry: p.options.Registry}
	}
	return deploy.Target{Kubeconfig: p.layout.Kubeconfig(), Registry: node.Registry, Docker: n.Docker}
}

// Up starts the node, unless a context is set, and deploys the stack.
func (p *Platform) Up(ctx context.Context) error {
	tools := p.builder()
	if p.ownNode() {
		if err := host.Check(p.options.NodeOnly); err != nil {
			return err
		}
	} else if p.options.Nodes > 0 || p.options.IPv6 {
		return errors.New("NODES and IPV6 are for nodes on this machine: leave them out with CONTEXT")
	} else if err := p.stack.CheckTarget(p.target(nil)); err != nil {
		return err
	}
	unlock, err := p.lock("up")
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
	var settings []string
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() error { return tools.Run(groupContext) })
	if !p.options.NodeOnly {
		group.Go(func() error {
			if err := p.stack.Compile(groupContext, tools); err != nil {
				return err
			}
			return p.stack.Begin(groupContext, p.target(node.New(p.layout, nil, p.log)))
		})
	}
	if p.ownNode() {
		group.Go(func() (err error) {
			settings, err = p.bringUp(groupContext, n, tools)
			return err
		})
	}
	if err := group.Wait(); err != nil || p.options.NodeOnly {
		return err
	}
	if err := p.stack.Up(ctx, p.target(n), settings...); err != nil {
		return err
	}
	if p.ownNode() {
		if err := n.Await(ctx, node.MetricsServer); err != nil {
			return err
		}
	}
	return p.welcome(ctx, p.target(n))
}

// bringUp starts the node and fills its registry. It returns settings as name=value: false for those whose images are unavailable, and those
// that use several nodes.
func (p *Platform) bringUp(ctx context.Context, n *node.Node, tools *toolchain.Builder) (settings []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if err := n.Up(ctx, self, p.options.IPv6, p.options.Nodes); err != nil || p.options.NodeOnly {
		return nil, err
	}
	upstreams, err := image.ReadUpstreams(filepath.Join(p.layout.Repo, "infra", "image", "upstream.json"))
	if err != nil {
		return nil, err
	}
	upstreams = slices.DeleteFunc(upstreams, func(u image.Upstream) bool { return u.Only != "" && os.Getenv(u.Only) == "" })
	for _, upstream := range upstreams {
		go image.Probe(ctx, node.Registry, upstream, tools)
	}
	missing := make([]bool, len(upstreams))
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(2) // each holds the layers of its image in memory
	for i, upstream := range upstreams {
		group.Go(func() error {
			if err := groupContext.Err(); err != nil {
				return err // another image failed; the builds that have started finish, and the next run uses them
			}
			provided, err := image.Provide(ctx, node.Registry, filepath.Join(p.layout.Cache, "images"), upstream, tools, p.log)
			missing[i] = !provided
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, upstream := range upstreams {
		if missing[i] {
			p.log.Say("image %s: can't be pulled: setting %s to false", upstream.Image, upstream.Optional)
			settings = append(settings, upstream.Optional+"=false")
		}
	}
	if nodes := n.Count(); nodes > 1 {
		set := "?=" // an interrupted run with NODES has set them or not; users may have changed them
		if p.options.Nodes > 0 {
			set = "="
		}
		settings = append(settings, "replicas.min"+set+"2", "replicas.max"+set+"3", fmt.Sprintf("postgres.instances%s%d", set, nodes))
		if nodes > 2 {
			settings = append(settings, "stream.instances"+set+"3")
		}
	}
	return settings, n.Await(ctx, node.CoreDNS)
}

// Tools prints the paths of monitoring tools, one per line, and provides missing ones, because unit tests use promtool and
// amtool without a running platform. Progress goes to stderr.
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

// Node kills, drains or starts the further node with that number.
func (p *Platform) Node(ctx context.Context, verb, number string) error {
	if !p.ownNode() {
		return fmt.Errorf("%s is for nodes on this machine: leave out CONTEXT", verb)
	}
	unlock, err := p.lock(verb)
	if err != nil {
		return err
	}
	defer unlock()
	tools := p.builderOf(toolchain.NodeTools(), p.log)
	n := node.New(p.layout, tools, p.log)
	if _, err := n.Status(ctx); err != nil {
		return err
	}
	change := map[string]func(context.Context, string) error{"node-kill": n.Kill, "node-drain": n.Drain, "node-start": n.Start}[verb]
	group, groupContext := errgroup.WithContext(ctx)
	group.Go(func() error { return tools.Run(groupContext) })
	group.Go(func() error { return change(groupContext, number) })
	if err := group.Wait(); err != nil {
		return err
	}
	p.log.Say("%s N=%s: done", verb, number)
	return nil
}

// Stop stops the node and keeps its data.
func (p *Platform) Stop(ctx context.Context) error {
	if !p.ownNode() {
		return errors.New("make stop stops only the node on this machine: delete a platform on another cluster with make down CONTEXT=<kube context>")
	}
	unlock, err := p.lock("stop")
	if err != nil {
		return err
	}
	defer unlock()
	p.stack.EndOrphans()
	if err := node.New(p.layout, nil, p.log).Stop(ctx); err != nil {
		return err
	}
	p.log.Say("stopped; the data is kept in %s for the next make up", p.layout.State)
	return nil
}

// Down deletes the platform: the local node with all of its data, or the stack's objects on another cluster. It keeps only the
// cache of tools.
func (p *Platform) Down(ctx context.Context) error {
	unlock, err := p.lock("down")
	if err != nil {
		return err
	}
	defer unlock()
	if p.ownNode() {
		if err := node.New(p.layout, nil, p.log).Remove(ctx); err != nil {
			return err
		}
	} else if _, err := os.Stat(p.layout.Pulumi()); err == nil {
		if err := p.stack.Destroy(ctx, p.target(nil)); err != nil {
			return err
		}
	}
	p.stack.EndOrphans()
	if err := p.stack.Forget(); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(p.layout.State), os.RemoveAll(filepath.Join(p.layout.Repo, authorityFile))); err != nil {
		return fmt.Errorf("remove the platform's folder: %w", err)
	}
	if !p.ownNode() { // the lock file of the node is kept
		if err := os.Remove(p.lockFile()); err != nil {
			return fmt.Errorf("remove the lock file: %w", err)
		}
	}
	p.log.Say("down: only the tools in %s, and bin and .build in this folder, are left", p.layout.Cache)
	return nil
}
