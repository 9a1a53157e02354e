// Package monitoring runs Prometheus, Alertmanager, Grafana, the exporters and the trace collector.
package monitoring

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/data"
	"platform.example/infra/isolation"
	"platform.example/infra/monitoring/dashboard"
	"platform.example/infra/namespace"
	"platform.example/infra/profile"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// Args describes the monitoring.
type Args struct {
	Namespaces map[namespace.Name]*isolation.Namespace
	Rollout    cluster.Rollout
	Config     stack.Stack
	Profile    profile.Profile
	Services   []catalog.Service
	Secrets    secret.Secrets
	// The stores, with the users of the exporters.
	Postgres, Cache, Stream data.Endpoint
}

// New creates the objects of the monitoring.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) error {
	monitoring := &struct{ pulumi.ResourceState }{}
	const name = string(namespace.Monitoring)
	if err := ctx.RegisterComponentResource("platform:monitoring:Monitoring", name, monitoring, opts...); err != nil {
		return err
	}
	running := pulumi.Map{}
	for _, part := range args.parts(dashboard.All(args.Services)) {
		completed, err := args.run(ctx, part, pulumi.Parent(monitoring))
		if err != nil {
			return fmt.Errorf("monitoring: %s: %w", part.name, err)
		}
		running[part.name] = completed
	}
	return ctx.RegisterResourceOutputs(monitoring, running)
}

// parts returns all programs of the monitoring.
func (a Args) parts(boards []dashboard.Dashboard) []part {
	parts := append(a.kubeStateMetrics(boards), a.prometheus(), a.alertmanager(), nodeExporter(), a.postgresExporter())
	parts = append(parts, a.redisExporters()...)
	if a.Config.Monitoring.Grafana {
		parts = append(parts, a.grafana(boards))
	}
	if a.Config.Monitoring.Traces != "" {
		parts = append(parts, a.collector())
	}
	return parts
}

// must returns the text of a configuration. Encoding plain values never fails.
func must[T any](text T, err error) T {
	if err != nil {
		panic(err)
	}
	return text
}

// namespaces are the names of the platform's namespaces.
func (a Args) namespaces() []string {
	return slice.Map(namespace.All(), a.Config.NamespacePrefix.Of)
}
