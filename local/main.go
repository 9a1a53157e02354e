// Command local runs the platform on this machine: it starts a Kubernetes cluster with a registry, and deploys the
// Pulumi program to it. The Makefile calls it; its verbs are targets of the Makefile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"platform.example/local/layout"
	"platform.example/local/node"
	"platform.example/local/platform"
	"platform.example/local/progress"
	"platform.example/local/supervisor"
)

const usage = `usage: local [-context C -registry R] up|stop|down|status|env|token
       local node-kill|node-drain|node-start NUMBER
       local logs [-f] COMPONENT
       local install DEBIAN-PACKAGE
       local tool NAME [NAME]`

func main() {
	// The PATH of a root shell that was opened with su lacks the folders of system programs.
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	cancel()
	switch {
	case err == nil:
	case interrupted:
		fmt.Fprintln(os.Stderr, "interrupted: make up continues from here, make down cleans up")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprintln(flags.Output(), usage); flags.PrintDefaults() }
	var options platform.Options
	flags.StringVar(&options.Context, "context", "", "kube context of an existing cluster, instead of a local node")
	flags.StringVar(&options.Registry, "registry", "", "registry that this machine pushes to and that cluster pulls from")
	flags.BoolVar(&options.IPv6, "ipv6", false, "create a dual-stack node, with IPv4 and IPv6 addresses")
	flags.IntVar(&options.Nodes, "nodes", 0, "number of local nodes; 0 keeps it")
	flags.BoolVar(&options.NodeOnly, "node", false, "start only the node, without the platform on it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	verb := flags.Arg(0)
	if verb == "supervise" { // up starts it
		return supervisor.Run(ctx, node.SupervisorConfig(layout.Layout{State: layout.State}))
	}
	p, err := platform.New(options, os.Stdout)
	if err != nil {
		return err
	}
	switch verb {
	case "up":
		return p.Up(ctx)
	case "stop":
		return p.Stop(ctx)
	case "down":
		return p.Down(ctx)
	case "status":
		return p.Status(ctx)
	case "env":
		return p.Env()
	case "node-kill", "node-drain", "node-start":
		return p.Node(ctx, verb, flags.Arg(1))
	case "token":
		return p.Token(ctx)
	case "tool":
		return p.Tools(ctx, flags.Args()[1:]...)
	case "install":
		return node.InstallPackages(ctx, progress.New(os.Stdout), flags.Args()[1:]...)
	case "logs":
		logs := flag.NewFlagSet("local logs", flag.ContinueOnError)
		follow := logs.Bool("f", false, "follow the log")
		if err := logs.Parse(flags.Args()[1:]); err != nil {
			return err
		}
		return p.Logs(ctx, logs.Arg(0), *follow)
	default:
		return errors.New(usage)
	}
}
