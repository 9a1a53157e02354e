// Package monitoring watches the platform: Prometheus asks everybody how they are, Alertmanager tells people, Grafana
// shows it.
package monitoring

import (
	"fmt"

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

// Monitoring is what watches the platform.
type Monitoring struct{ pulumi.ResourceState }

// Args describes it.
type Args struct {
	Namespaces map[namespace.Name]*isolation.Namespace
	Rollout    cluster.Rollout
	Config     stack.Stack
	Profile    profile.Profile
	Services   []catalog.Service
	Secrets    secret.Secrets
	// The stores, as who looks at their statistics.
	Postgres, Cache, Stream data.Endpoint
}

// New makes all of it.
func New(ctx *pulumi.Context, args Args, opts ...pulumi.ResourceOption) (*Monitoring, error) {
	monitoring := &Monitoring{}
	const name = string(namespace.Monitoring)
	if err := ctx.RegisterComponentResource("platform:monitoring:Monitoring", name, monitoring, opts...); err != nil {
		return nil, err
	}
	boards, err := dashboard.All(args.Services)
	if err != nil {
		return nil, fmt.Errorf("monitoring: %w", err)
	}
	running := pulumi.Map{}
	for _, part := range args.parts(boards) {
		if running[part.name], err = args.run(ctx, part, pulumi.Parent(monitoring)); err != nil {
			return nil, fmt.Errorf("monitoring: %s: %w", part.name, err)
		}
	}
	return monitoring, ctx.RegisterResourceOutputs(monitoring, running)
}

// parts is every program of it.
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

// must is the text of a configuration that this program makes of plain values, which can't fail.
func must[T any](text T, err error) T {
	if err != nil {
		panic(err)
	}
	return text
}

// namespaces is the names of the platform's namespaces: what runs in others is somebody else's.
func (a Args) namespaces() []string {
	var names []string
	for _, name := range namespace.All() {
		names = append(names, a.Config.NamespacePrefix.Of(name))
	}
	return names
}
