package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"platform.example/infra/cluster"
	"platform.example/infra/profile"
)

// showProfile prints the profile of a stack's cluster with the source of each value, and what will be missing.
func showProfile(root, name, file string, out io.Writer) error {
	ctx := context.Background()
	config, err := readPlain(ctx, root, name, file)
	if err != nil {
		return err
	}
	here, err := cluster.Target{
		Kubeconfig: within(root, config.Kubeconfig), Context: config.KubeContext, Namespaces: config.NamespacePrefix,
	}.Connect(ctx)
	if err != nil {
		return fmt.Errorf("stack %s: %w", name, err)
	}
	p, err := profile.New(config, here.Discover(ctx, config.Cluster.NodeSelector))
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tSOURCE")
	for _, line := range p.Lines {
		fmt.Fprintf(table, "%s\t%s\t%s\n", line.Name, line.Value, line.Source)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i, missing := range p.Missing {
		if i == 0 {
			fmt.Fprintln(out, "\nWhat will be missing:")
		}
		fmt.Fprintln(out, "- "+missing)
	}
	return nil
}
