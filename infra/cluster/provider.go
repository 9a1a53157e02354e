package cluster

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Target is a cluster: a context of a kubeconfig file. Empty strings mean the usual places and the current context.
type Target struct {
	Kubeconfig string // path
	Context    string
}

// Reachable is an error where the cluster doesn't answer, so that a program can end before its first resource.
func (t Target) Reachable(ctx *pulumi.Context) error {
	if err := t.reachable(ctx.Context()); err != nil {
		return fmt.Errorf("stack %s: %w", ctx.Stack(), err)
	}
	return nil
}

// Connect is the provider of the cluster.
func (t Target) Connect(ctx *pulumi.Context) (*kubernetes.Provider, error) {
	args := &kubernetes.ProviderArgs{EnableServerSideApply: pulumi.Bool(true)}
	if t.Kubeconfig != "" {
		args.Kubeconfig = pulumi.String(t.Kubeconfig)
	}
	if t.Context != "" {
		args.Context = pulumi.String(t.Context)
	}
	return kubernetes.NewProvider(ctx, "cluster", args)
}
