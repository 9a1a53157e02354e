package monitoring

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/data"
	"platform.example/infra/monitoring/dashboard"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/release"
)

// kubeMetric matches names of metrics of kube-state-metrics.
var kubeMetric = regexp.MustCompile(`\bkube_[a-z_]+`)

// kubeStateMetrics exports the metrics of the platform's objects that rules and dashboards use. It watches only the platform's
// namespaces. Nodes have a separate process, since one that watches several namespaces reports each node once per namespace.
func (a Args) kubeStateMetrics(boards []dashboard.Dashboard) []part {
	used := kubeMetric.FindAllString(a.rules(), -1)
	for _, query := range dashboard.Queries(boards) {
		used = append(used, kubeMetric.FindAllString(query.Expr, -1)...)
	}
	slices.Sort(used)
	const labels = "app.kubernetes.io/name,colour"
	objects := part{
		name: network.KubeStateMetrics, image: network.KubeStateMetrics, port: network.KubeStateMetricsPort, health: "/metrics",
		memory: 128 * quantity.MiB, cpu: 200,
		inside: everywhere(
			look("", "configmaps", "pods", "persistentvolumeclaims", "services"), look("discovery.k8s.io", "endpointslices"), look("apps", "deployments", "statefulsets", "daemonsets"),
			look("batch", "jobs", "cronjobs"), look("autoscaling", "horizontalpodautoscalers"),
		),
		command: []string{
			"/kube-state-metrics",
			fmt.Sprintf("--port=%d", network.KubeStateMetricsPort),
			"--metric-allowlist=^(" + strings.Join(slices.Compact(used), "|") + ")$",
		},
	}
	nodes := objects
	nodes.name, nodes.memory, nodes.inside = network.NodeStateMetrics, 64*quantity.MiB, nil
	nodes.rights = rbacv1.PolicyRuleArray{look("", "nodes")}
	nodes.command = append(slices.Clone(objects.command), "--resources=nodes")
	objects.command = append(objects.command,
		"--namespaces="+strings.Join(a.namespaces(), ","),
		"--resources=configmaps,pods,persistentvolumeclaims,services,endpointslices,deployments,statefulsets,daemonsets,jobs,cronjobs,horizontalpodautoscalers",
		"--metric-labels-allowlist=pods=["+labels+"],deployments=["+labels+"]",
		"--metric-annotations-allowlist=services=["+release.LiveAnnotation+","+release.SwitchedAnnotation+"]",
	)
	return []part{objects, nodes}
}

// nodeExporter exports the metrics of each node. It needs no privileges: /proc in a pod shows the node's values, and an emptyDir is on
// the node's disk.
func nodeExporter() part {
	const disk = "/node"
	collectors := []string{"cpu", "meminfo", "loadavg", "diskstats", "filesystem", "stat", "vmstat", "uname", "time", "filefd"}
	p := part{
		name: network.NodeExporter, image: network.NodeExporter, port: network.NodeExporterPort, health: "/",
		memory: 32 * quantity.MiB, cpu: 200, everyone: true, scratch: []string{disk},
		command: []string{"/bin/node_exporter", fmt.Sprintf("--web.listen-address=:%d", network.NodeExporterPort),
			"--collector.disable-defaults",
			"--collector.filesystem.mount-points-exclude=^/(dev|proc|sys|etc|run|var)($|/)|^/$",
		},
	}
	for _, collector := range collectors {
		p.command = append(p.command, "--collector."+collector)
	}
	return p
}

// postgresExporter exports the server's statistics.
func (a Args) postgresExporter() part {
	p := part{
		name: network.Postgres + network.Exporter, image: "postgres-exporter", port: network.PostgresExporterPort, health: "/",
		memory: 48 * quantity.MiB, cpu: 200,
	}
	p.command = []string{
		"/bin/postgres_exporter", fmt.Sprintf("--web.listen-address=:%d", p.port),
		"--collector.long_running_transactions", "--collector.stat_activity_autovacuum", "--collector.database_wraparound",
		"--no-collector.wal", // requires the superuser
	}
	p.config = pulumi.StringMap{authorityFile: a.Postgres.Authority}
	p.secrets = pulumi.StringMap{"user": a.Postgres.User, "password": a.Postgres.Password}
	p.env = pulumi.StringMap{
		"DATA_SOURCE_URI": pulumi.Sprintf("%s/postgres?sslmode=verify-full&sslrootcert=%s",
			net.JoinHostPort(a.Postgres.Host, fmt.Sprint(a.Postgres.Port)), p.authority(a.Postgres)),
		"DATA_SOURCE_USER_FILE": pulumi.String(p.secretFolder() + "/user"),
		"DATA_SOURCE_PASS_FILE": pulumi.String(p.secretFolder() + "/password"),
	}
	return p
}

const (
	authorityFile = "authority.pem"  // of a store
	passwordsFile = "passwords.json" // by the store's address, in redis_exporter's format
)

// authority is the path of a store's authority, or empty for the system's roots.
func (p part) authority(at data.Endpoint) pulumi.StringOutput {
	path := p.configFolder() + "/" + authorityFile
	return at.Authority.ApplyT(func(authority string) string {
		if authority == "" {
			return ""
		}
		return path
	}).(pulumi.StringOutput)
}

// redisExporters export the metrics of the cache and the stream.
func (a Args) redisExporters() []part {
	var parts []part
	for _, store := range []struct {
		name string
		at   data.Endpoint
	}{{network.Cache, a.Cache}, {network.Stream, a.Stream}} {
		p := part{
			name: store.name + network.Exporter, image: "redis-exporter", port: network.RedisExporterPort, health: "/health",
			memory: 32 * quantity.MiB, cpu: 100,
		}
		p.command = []string{"/redis_exporter"}
		p.config = pulumi.StringMap{authorityFile: store.at.Authority}
		targets := store.at.Targets()
		p.secrets = pulumi.StringMap{passwordsFile: pulumi.All(store.at.User, store.at.Password).ApplyT(func(login []any) string {
			user := strings.TrimPrefix(login[0].(string)+"@", "@") // an external Redis has only a password
			return "{" + strings.Join(slice.Map(targets, func(at string) string {
				return fmt.Sprintf(`"rediss://%s%s": "%s"`, user, at, login[1])
			}), ", ") + "}"
		}).(pulumi.StringOutput)}
		p.env = pulumi.StringMap{
			"REDIS_ADDR":                                       pulumi.String("rediss://" + targets[0]),
			"REDIS_USER":                                       store.at.User,
			"REDIS_PASSWORD_FILE":                              pulumi.String(p.secretFolder() + "/" + passwordsFile),
			"REDIS_EXPORTER_TLS_CA_CERT_FILE":                  p.authority(store.at),
			"REDIS_EXPORTER_WEB_LISTEN_ADDRESS":                pulumi.String(fmt.Sprintf(":%d", p.port)),
			"REDIS_EXPORTER_CONNECTION_TIMEOUT":                pulumi.String("3s"), // of a scrape's 10 s
			"REDIS_EXPORTER_SET_CLIENT_NAME":                   pulumi.String("true"),
			"REDIS_EXPORTER_EXCLUDE_LATENCY_HISTOGRAM_METRICS": pulumi.String("true"),
		}
		if len(targets) > 1 {
			p.env["REDIS_ADDR"] = pulumi.String("") // Prometheus names the instance
		}
		parts = append(parts, p)
	}
	return parts
}
