package data

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/data/server"
	"platform.example/infra/kube"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
)

// newPooler runs PgBouncer in transaction mode between the services and the Postgres cluster that serves, with the server's certificate. It
// returns the selector of its pods once they are ready. A client has a server connection to itself only during a transaction.
func (a PostgresArgs) newPooler(ctx *pulumi.Context, opts ...pulumi.ResourceOption) (pulumi.StringMap, error) {
	serving, instances := clusterName(a.Config.Postgres.Cluster), a.Config.Postgres.Pooler
	name := serving + "-pooler"
	selector := pulumi.StringMap{"cnpg.io/poolerName": pulumi.String(name)}
	metadata := a.named(name)
	// PgBouncer reloads its Secrets when its object changes, and otherwise within an hour.
	metadata.Annotations = pulumi.StringMap{"platform.example/authority": a.Authority.ApplyT(server.Hash).(pulumi.StringOutput)}

	resources := kube.Resources(a.Config.Requested(50), 1000, 192*quantity.MiB)
	pod := corev1.PodSpecArgs{
		EnableServiceLinks:        pulumi.Bool(false),
		PriorityClassName:         a.Namespace.Priority,
		TopologySpreadConstraints: kube.Spread(selector),
		InitContainers:            corev1.ContainerArray{corev1.ContainerArgs{Name: pulumi.String("bootstrap-controller"), Resources: resources}},
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name: pulumi.String("pgbouncer"), Resources: resources,
			// It closes the connections of its clients when it stops. The delay lets replicas that stop, too, finish their requests.
			Lifecycle: corev1.LifecycleArgs{PreStop: corev1.LifecycleHandlerArgs{
				Exec: corev1.ExecActionArgs{Command: pulumi.ToStringArray([]string{"sleep", "15"})},
			}},
		}},
	}
	kube.Place(&pod, a.Profile)
	servers, clients := a.Config.Pool(a.Services)
	spec := map[string]any{
		"cluster":   map[string]any{"name": serving},
		"type":      "rw",
		"instances": instances,
		"deploymentStrategy": map[string]any{
			"type": "RollingUpdate", "rollingUpdate": map[string]any{"maxSurge": 1, "maxUnavailable": 0},
		},
		"template": map[string]any{
			"metadata": map[string]any{"labels": network.Selector(network.Pooler), "annotations": kube.Scraped(network.PoolerMetricsPort)},
			"spec":     pod,
		},
		"pgbouncer": map[string]any{"image": a.PoolerImage, "poolMode": "transaction", "parameters": map[string]string{
			"client_tls_sslmode":      "require",
			"max_client_conn":         fmt.Sprint(clients),
			"default_pool_size":       fmt.Sprint(servers),
			"max_db_connections":      fmt.Sprint(servers), // a rotated password has a second pool
			"max_prepared_statements": "200",
			// After a failover, it finds the new primary at once, and drops connections to a lost one.
			"server_login_retry":     "1",
			"server_connect_timeout": "3",
			"tcp_user_timeout":       "5000",
			"tcp_keepidle":           "5",
			"tcp_keepintvl":          "1",
			"tcp_keepcnt":            "3",
		}},
	}
	created, err := newCustom(ctx, operatorGroup+"/v1", "Pooler", name, metadata, spec, opts...)
	if err != nil {
		return nil, err
	}
	if instances > 1 {
		if err := kube.Budget(ctx, network.Pooler, a.named(network.Pooler), selector, opts...); err != nil {
			return nil, err
		}
	}
	ready := created.ID().ApplyT(func(pulumi.ID) (string, error) {
		if ctx.DryRun() {
			return name, nil
		}
		return name, a.Rollout.Complete(ctx.Context(), a.Config.NamespacePrefix.Of(namespace.Data), name, map[string]string{"cnpg.io/poolerName": name})
	}).(pulumi.StringOutput)
	return pulumi.StringMap{"cnpg.io/poolerName": ready}, nil
}
