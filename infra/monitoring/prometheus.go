package monitoring

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
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

	// The limits of one target, so that a faulty one doesn't affect the others.
	mostSamples = 20_000
	mostBytes   = "16MB"
)

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
	p.inside[dnsNamespace] = rbacv1.PolicyRuleArray{look("", "services", "pods")}
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
		Memory: a.Config.Monitoring.Memory, Replicated: len(a.Stream.Instances) > 1, Alertmanager: link(a.Config.Monitoring.AlertmanagerURL, network.AlertmanagerPort),
		Dashboards: link(a.Config.Monitoring.GrafanaURL, network.GrafanaPort) + "/d/" + dashboard.Home,
	}))
}

// object is a part of a configuration file.
type object map[string]any

// The cluster's own targets.
const (
	dnsNamespace       = "kube-system"
	dnsSelector        = "k8s-app=kube-dns"
	apiServerNamespace = "default"
	apiServer          = "kubernetes" // Service and EndpointSlice of the API server
)

// scrapes is Prometheus' configuration (prometheus.io/docs, "Configuration"). It discovers only targets in the platform's namespaces and
// the cluster's targets that rules use.
func (a Args) scrapes() object {
	config, own := a.Config, a.namespaces()
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	signedIn := func(job string, verify bool) object {
		return object{
			"job_name":      job,
			"scheme":        "https",
			"tls_config":    object{"ca_file": account + "ca.crt", "insecure_skip_verify": !verify},
			"authorization": object{"credentials_file": account + "token"},
		}
	}
	with := func(base, more object) object {
		maps.Copy(base, more)
		return base
	}
	verify := config.Monitoring.VerifyKubelets
	nodes := []object{{"role": "node"}}
	in := func(names ...string) object { return object{"names": names} }
	discover := func(role string) []object {
		return []object{
			{"role": role, "namespaces": in(own...)},
			{"role": role, "namespaces": in(dnsNamespace), "selectors": []object{{"role": role, "label": dnsSelector}}},
		}
	}
	// Series without a namespace belong to a node.
	ours := object{"action": "keep", "source_labels": []string{"namespace"}, "regex": strings.Join(own, "|") + "|"}
	podPort := []string{"__meta_kubernetes_pod_ip", "__meta_kubernetes_pod_annotation_prometheus_io_port"}
	// Prometheus looks up the Service and the pod of each endpoint.
	named := slice.Map([]string{"endpointslice", "service", "pod"}, func(role string) object {
		return object{"role": role, "field": "metadata.name=" + apiServer}
	})
	scrapes := object{
		"global": object{
			"scrape_interval":          fmt.Sprintf("%ds", interval),
			"scrape_timeout":           "10s",
			"evaluation_interval":      fmt.Sprintf("%ds", interval),
			"external_labels":          object{"stack": config.Name},
			"sample_limit":             mostSamples,
			"body_size_limit":          mostBytes,
			"label_limit":              64,
			"label_value_length_limit": 1024,
		},
		"rule_files": []string{rulesFile},
		// Prometheus sends each alert to all replicas, also without DNS.
		"alerting": object{"alertmanagers": []object{{
			"kubernetes_sd_configs": []object{{"role": "pod", "namespaces": in(config.NamespacePrefix.Of(namespace.Monitoring)),
				"selectors": []object{{"role": "pod", "label": "app.kubernetes.io/name=" + network.Alertmanager}}}},
			"relabel_configs": []object{{"action": "keep", "source_labels": []string{"__meta_kubernetes_pod_container_port_name"}, "regex": "http"}},
		}}},
		"scrape_configs": []object{
			{
				"job_name":              "pods",
				"honor_labels":          false,
				"kubernetes_sd_configs": discover("pod"),
				"relabel_configs": append(annotated("pod"),
					object{"action": "drop", "source_labels": []string{"__meta_kubernetes_pod_phase"}, "regex": "Pending|Succeeded|Failed|Completed"},
					// kube-state-metrics has a scrape job with honor_labels.
					object{"action": "drop", "source_labels": []string{"__meta_kubernetes_pod_label_app_kubernetes_io_name"}, "regex": network.KubeStateMetrics + "|" + network.NodeStateMetrics},
					object{"source_labels": podPort, "regex": "(.+);(.+)", "replacement": "$1:$2", "target_label": "__address__"},
					object{"source_labels": podPort, "regex": "(.+:.+);(.+)", "replacement": "[$1]:$2", "target_label": "__address__"}, // IPv6
					// One target per pod instead of one per port.
					object{"source_labels": []string{"__meta_kubernetes_pod_label_k8s_app"}, "regex": "(.+)", "target_label": "job"},
					object{"source_labels": []string{"job"}, "regex": "kube-dns", "replacement": "coredns", "target_label": "job"}, // CoreDNS keeps the label of its predecessor
					object{"source_labels": []string{"__meta_kubernetes_pod_label_app_kubernetes_io_name"}, "regex": "(.+)", "target_label": "job"},
					object{"source_labels": []string{"__meta_kubernetes_pod_label_platform_example_of"}, "regex": "(.+)", "target_label": "job"},
					object{"source_labels": []string{"__meta_kubernetes_namespace"}, "target_label": "namespace"},
					object{"source_labels": []string{"__meta_kubernetes_pod_name"}, "target_label": "pod"},
					object{"source_labels": []string{"__meta_kubernetes_pod_node_name"}, "target_label": "node"},
					object{"source_labels": []string{"__meta_kubernetes_pod_label_colour"}, "target_label": "colour"},
				),
				"metric_relabel_configs": []object{drop("go_memstats_.+|go_gc_.+|go_sched_.+|prometheus_(tsdb|engine|http|sd|target|rule)_.*_bucket")},
			},
			{
				"job_name":     network.KubeStateMetrics,
				"honor_labels": true,
				"static_configs": []object{{"targets": []string{
					fmt.Sprintf("%s:%d", a.host(network.KubeStateMetrics), network.KubeStateMetricsPort),
					fmt.Sprintf("%s:%d", a.host(network.NodeStateMetrics), network.KubeStateMetricsPort),
				}}},
				"metric_relabel_configs": []object{{"action": "labeldrop", "regex": "uid|container_id|image_id"}},
			},
			{
				"job_name":              "services",
				"kubernetes_sd_configs": discover("service"),
				"relabel_configs": append(annotated("service"),
					object{"source_labels": []string{"__meta_kubernetes_service_name", "__meta_kubernetes_namespace", "__meta_kubernetes_service_annotation_prometheus_io_port"},
						"regex": "(.+);(.+);(.+)", "replacement": "$1.$2.svc:$3", "target_label": "__address__"},
					object{"source_labels": []string{"__meta_kubernetes_service_name"}, "target_label": "job"},
					object{"source_labels": []string{"__meta_kubernetes_namespace"}, "target_label": "namespace"},
				),
			},
			with(signedIn("apiserver", true), object{
				"kubernetes_sd_configs": []object{{"role": "endpointslice", "namespaces": in(apiServerNamespace), "selectors": named}},
				"relabel_configs": []object{{
					"action": "keep", "regex": apiServer + ";https",
					"source_labels": []string{"__meta_kubernetes_service_name", "__meta_kubernetes_endpointslice_port_name"},
				}},
				"metric_relabel_configs": []object{keep("up|apiserver_(request_total|current_inflight_requests|storage_objects|storage_size_bytes|client_certificate_expiration_seconds_.+)|process_.+|rest_client_requests_total")},
			}),
			with(signedIn("kubelet", verify), object{
				"kubernetes_sd_configs":  nodes,
				"relabel_configs":        []object{nodeName},
				"metric_relabel_configs": []object{keep("up|kubelet_volume_stats_.+|kubelet_running_.+|kubelet_node_name|process_.+|kubelet_pleg_relist_duration_seconds_(sum|count)"), ours},
			}),
			with(signedIn("cadvisor", verify), object{
				"kubernetes_sd_configs": nodes,
				"metrics_path":          "/metrics/cadvisor",
				"relabel_configs":       []object{nodeName},
				"metric_relabel_configs": []object{
					keep("up|machine_.+|container_(cpu_usage_seconds_total|cpu_cfs_(periods|throttled_periods)_total|memory_(working_set_bytes|rss)|spec_memory_limit_bytes|oom_events_total|network_(receive|transmit)_bytes_total|start_time_seconds)"), ours,
					{"action": "labeldrop", "regex": "id|name|image"},
				},
			}),
		},
	}
	if targets := a.Stream.Targets(); len(targets) > 1 { // the one exporter asks each instance
		const exporter = network.Stream + network.Exporter
		scrapes["scrape_configs"] = append(scrapes["scrape_configs"].([]object), object{
			"job_name": exporter, "metrics_path": "/scrape", "static_configs": []object{{"targets": targets}},
			"relabel_configs": []object{
				{"source_labels": []string{"__address__"}, "replacement": "rediss://$1", "target_label": "__param_target"},
				{"source_labels": []string{"__address__"}, "regex": "([^.]+).+", "target_label": "instance"},
				{"replacement": fmt.Sprintf("%s:%d", a.host(exporter), network.RedisExporterPort), "target_label": "__address__"},
			},
		})
	}
	if config.Monitoring.Probe {
		scrapes["scrape_configs"] = append(scrapes["scrape_configs"].([]object), a.probe())
	}
	for _, job := range scrapes["scrape_configs"].([]object) {
		withoutPrefix(job, config.NamespacePrefix)
	}
	return scrapes
}

// probe scrapes the health of the public service by its public name, and verifies the certificate. The public name of the local platform
// leads a pod to itself, so that the name of the edge's Service replaces it.
func (a Args) probe() object {
	target, tls := a.Config.Edge.Host, object{}
	if a.Config.Environment == stack.Local {
		target = a.Config.NamespacePrefix.Host(network.Edge, namespace.Edge) + ":443"
		tls = object{"ca_file": authorityFile, "server_name": a.Config.Edge.Host}
	}
	return object{
		"job_name": rule.Probe, "scheme": "https", "metrics_path": "/health", "tls_config": tls,
		"static_configs": []object{{"targets": []string{target}}},
	}
}

// withoutPrefix removes the stack's prefix from the label namespace of a job's targets and series, so that rules and dashboards are
// the same for all stacks.
func withoutPrefix(job object, prefix namespace.Prefix) {
	if prefix == "" {
		return
	}
	rule := object{"source_labels": []string{"namespace"}, "regex": string(prefix) + "(apps|data|edge|monitoring)", "target_label": "namespace"}
	for _, key := range []string{"relabel_configs", "metric_relabel_configs"} {
		rules, _ := job[key].([]object)
		job[key] = append(slices.Clip(rules), rule)
	}
}

// annotated keeps the objects with the usual annotations prometheus.io/scrape, path and port.
func annotated(role string) []object {
	annotation := "__meta_kubernetes_" + role + "_annotation_prometheus_io_"
	return []object{
		{"action": "keep", "source_labels": []string{annotation + "scrape"}, "regex": "true"},
		{"action": "keep", "source_labels": []string{annotation + "port"}, "regex": "[0-9]+"},
		{"source_labels": []string{annotation + "path"}, "regex": "(.+)", "target_label": "__metrics_path__"},
	}
}

var nodeName = object{"source_labels": []string{"__meta_kubernetes_node_name"}, "target_label": "node"}

// keep keeps only the metrics with matching names.
func keep(names string) object {
	return object{"action": "keep", "source_labels": []string{"__name__"}, "regex": names}
}

func drop(names string) object {
	return object{"action": "drop", "source_labels": []string{"__name__"}, "regex": names}
}

// alertmanager sends alerts to people, each once by all replicas together. It keeps silences and its notification log on a volume.
// Prometheus resends alerts, so an alert during a restart isn't lost.
func (a Args) alertmanager() part {
	p := part{
		name: network.Alertmanager, image: "alertmanager", port: network.AlertmanagerPort, health: "/-/ready",
		memory: 64 * quantity.MiB, cpu: 200, volume: 256 * quantity.MiB,
		secrets: pulumi.StringMap{},
	}
	for secret, file := range map[string]string{
		catalog.SlackWebhookURL: route.SlackFile, catalog.PagerDutyRoutingKey: route.PagerDutyFile,
		catalog.AlertWebhookURL: route.WebhookFile, catalog.DeadMansSwitchURL: route.DeadMansSwitchFile,
	} {
		if a.Secrets.Has(secret) {
			p.secrets[file] = a.Secrets.Value(secret)
		}
	}
	receivers := route.Receivers{
		Slack: a.Secrets.Has(catalog.SlackWebhookURL), PagerDuty: a.Secrets.Has(catalog.PagerDutyRoutingKey),
		Webhook: a.Secrets.Has(catalog.AlertWebhookURL), DeadMansSwitch: a.Secrets.Has(catalog.DeadMansSwitchURL),
	}
	config := must(route.Config(a.Config.Name, p.secretFolder(), receivers))
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
