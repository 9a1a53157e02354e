package monitoring

import (
	"cmp"
	_ "embed"
	"fmt"
	"strings"

	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"platform.example/infra/configfile"
	"platform.example/infra/monitoring/dashboard"
	"platform.example/infra/monitoring/route"
	"platform.example/infra/monitoring/rule"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

const (
	configFile = "prometheus.yml"
	rulesFile  = "rules.yml"

	// interval is the interval of scrapes and evaluations in seconds. A page is sent within a minute of its cause.
	interval = 15
)

//go:embed prometheus.yml
var prometheusFile string

func (a Args) prometheus() part {
	config := must(yaml.Marshal(a.scrapes()))
	p := part{
		name: network.Prometheus, image: "prometheus", port: network.PrometheusPort, health: "/-/ready",
		memory: a.Config.Monitoring.Memory, cpu: 1000,
		volume: a.Config.Monitoring.VolumeSize, replicas: a.Config.Monitoring.Replicas,
		config: pulumi.StringMap{
			configFile: pulumi.String(config), rulesFile: pulumi.String(a.rules()), authorityFile: pulumi.String(a.Secrets.Authority().Bundle),
		},
		follows: true,
		rights: rbacv1.PolicyRuleArray{
			look("", "nodes"),
			rbacv1.PolicyRuleArgs{
				ApiGroups: pulumi.ToStringArray([]string{""}), Resources: pulumi.ToStringArray([]string{"nodes/metrics"}),
				Verbs: pulumi.ToStringArray([]string{"get"}),
			},
			rbacv1.PolicyRuleArgs{
				NonResourceURLs: pulumi.ToStringArray([]string{"/metrics"}), Verbs: pulumi.ToStringArray([]string{"get"}),
			},
		},
		inside: everywhere(look("", "services", "pods")),
	}
	p.inside[dnsNamespace] = rbacv1.PolicyRuleArray{look("", "pods")}
	p.inside[apiServerNamespace] = rbacv1.PolicyRuleArray{
		only(apiServer, look("", "services", "pods")), only(apiServer, look("discovery.k8s.io", "endpointslices")),
	}
	p.command = []string{
		"/bin/prometheus",
		"--config.file=" + p.configFolder() + "/" + configFile,
		"--storage.tsdb.path=" + p.dataFolder() + "/tsdb",
		fmt.Sprintf("--storage.tsdb.retention.time=%dd", a.Config.Monitoring.Retention),
		fmt.Sprintf("--storage.tsdb.retention.size=%dMB", int(a.Config.Monitoring.VolumeSize)*8/10), // the rest is for the write-ahead log
		"--enable-feature=auto-reload-config",
		fmt.Sprintf("--config.auto-reload-interval=%ds", interval),
		"--web.listen-address=:" + fmt.Sprint(network.PrometheusPort),
		"--web.external-url=" + link(a.Config.Monitoring.PrometheusURL, network.PrometheusPort), "--web.route-prefix=/",
	}
	return p
}

// link is the URL at which people open a part, by default that of make dashboard.
func link(url string, port int) string { return cmp.Or(url, fmt.Sprintf("http://127.0.0.1:%d", port)) }

// rules are the recording rules and alerts.
func (a Args) rules() string {
	return must(rule.YAML(a.Services, rule.Options{
		Runbooks: a.Config.Monitoring.Runbooks, Standby: a.Config.Standby,
		AuthorityExpires: a.Secrets.Authority().Ends, CertificateDuration: a.Config.CertificateDuration,
		Memory: a.Config.Monitoring.Memory, Replicated: len(a.Stream.Instances) > 1, Backed: a.Config.Backed(), Alertmanager: link(a.Config.Monitoring.AlertmanagerURL, network.AlertmanagerPort),
		Dashboards: link(a.Config.Monitoring.GrafanaURL, network.GrafanaPort) + "/d/" + dashboard.Home,
	}))
}

// object is a part of a configuration file.
type object = map[string]any

// The cluster's own targets.
const (
	dnsNamespace       = "kube-system"
	apiServerNamespace = "default"
	apiServer          = "kubernetes" // Service and EndpointSlice of the API server
)

// scrapes is Prometheus' configuration.
func (a Args) scrapes() object {
	state := func(name string) string { return fmt.Sprintf("%s:%d", a.host(name), network.KubeStateMetricsPort) }
	values := object{
		"stack": a.Config.Name, "interval": interval, "rules": rulesFile,
		"namespaces": a.namespaces(), "ofNamespaces": strings.Join(a.namespaces(), "|") + "|", // series without a namespace belong to a node
		"monitoring": a.Config.NamespacePrefix.Of(namespace.Monitoring), "alertmanager": network.Alertmanager,
		"kubeStateMetrics": network.KubeStateMetrics, "nodeStateMetrics": network.NodeStateMetrics,
		"stateTargets": []string{state(network.KubeStateMetrics), state(network.NodeStateMetrics)},
		"dnsNamespace": dnsNamespace, "apiServerNamespace": apiServerNamespace, "apiServer": apiServer,
		"verifyKubelets": a.Config.Monitoring.VerifyKubelets, "probe": a.Config.Monitoring.Probe, "probeJob": rule.Probe,
		"address": a.Config.Edge.Host, "tls": object{},
	}
	if a.Config.Environment == stack.Local { // the public name leads a pod to itself
		values["address"] = a.Config.NamespacePrefix.Host(network.Edge, namespace.Edge) + ":443"
		values["tls"] = object{"ca_file": authorityFile, "server_name": a.Config.Edge.Host}
	}
	const exporter = network.Stream + network.Exporter
	values["streamTargets"], values["streamExporter"] = []string(nil), exporter
	values["streamExporterAddress"] = fmt.Sprintf("%s:%d", a.host(exporter), network.RedisExporterPort)
	if targets := a.Stream.Targets(); len(targets) > 1 { // the one exporter asks each instance
		values["streamTargets"] = targets
	}
	scrapes := configfile.Decode[object](prometheusFile, values)
	if prefix := a.Config.NamespacePrefix; prefix != "" {
		for _, job := range scrapes["scrape_configs"].([]any) {
			withoutPrefix(job.(object), prefix)
		}
	}
	return scrapes
}

// withoutPrefix removes the stack's prefix from the label namespace of a job's targets and series, so that rules and dashboards are
// the same for all stacks.
func withoutPrefix(job object, prefix namespace.Prefix) {
	rule := object{"source_labels": []string{"namespace"}, "regex": string(prefix) + "(apps|data|edge|monitoring)", "target_label": "namespace"}
	for _, key := range []string{"relabel_configs", "metric_relabel_configs"} {
		rules, _ := job[key].([]any)
		job[key] = append(rules, rule)
	}
}

// alertmanager sends alerts to people, each once by all replicas together. It keeps silences and its notification log on a volume.
// Prometheus resends alerts, so an alert during a restart isn't lost.
func (a Args) alertmanager() part {
	p := part{
		name: network.Alertmanager, image: "alertmanager", port: network.AlertmanagerPort, health: "/-/ready",
		memory: 64 * quantity.MiB, cpu: 200, volume: 256 * quantity.MiB,
		secrets: pulumi.StringMap{},
	}
	for secret, file := range route.Files {
		if a.Secrets.Has(secret) {
			p.secrets[file] = a.Secrets.Value(secret)
		}
	}
	config := must(route.Config(a.Config.Name, p.secretFolder(), a.Secrets.Has))
	p.config = pulumi.StringMap{"alertmanager.yml": pulumi.String(config)}
	p.command = []string{
		"/bin/alertmanager", "--config.file=" + p.configFolder() + "/alertmanager.yml", "--storage.path=" + p.dataFolder(),
		fmt.Sprintf("--web.listen-address=:%d", p.port), "--web.external-url=" + link(a.Config.Monitoring.AlertmanagerURL, p.port), "--web.route-prefix=/",
	}
	if a.Config.Monitoring.Replicas < 2 {
		p.command = append(p.command, "--cluster.listen-address=")
		return p
	}
	p.replicas, p.gossip = a.Config.Monitoring.Replicas, network.GossipPort
	p.command = append(p.command, fmt.Sprintf("--cluster.listen-address=[$(POD_IP)]:%d", p.gossip), // also for IPv4
		fmt.Sprintf("--cluster.peer=%s:%d", a.host(p.name+peers), p.gossip))
	return p
}
