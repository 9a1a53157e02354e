package dashboard

import (
	"fmt"

	"platform.example/infra/monitoring/rule"
)

// graph is lines of one query.
func graph(width uint32, title, unit, about, expr, legend string) panel {
	return panel{width: width, title: title, unit: unit, about: about, asked: ask(expr, legend)}
}

// quantiles are the p50, p95 and p99 of a histogram in seconds.
func quantiles(width uint32, title, histogram, selector string) panel {
	drawn := panel{width: width, title: title, unit: "s", about: "50 %, 95 % and 99 % of the requests take no longer."}
	for _, q := range []float64{.5, .95, .99} {
		expr := fmt.Sprintf("histogram_quantile(%g, sum by (le) (rate(%s_bucket{%s}%s)))", q, histogram, selector, rate)
		drawn.asked = append(drawn.asked, query{expr, fmt.Sprintf("p%g", 100*q)})
	}
	return drawn
}

// perSecond is the rate of a counter by a label.
func perSecond(counter, label string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s%s))", label, counter, rate)
}

// atEdge selects the series of clients, and requestsAtEdge their requests.
const atEdge = `job="` + edgeJob + `", entrypoint!~"ops|traefik"`

func requestsAtEdge(more string) string {
	return "traefik_entrypoint_requests_total{" + atEdge + more + "}"
}

func edge() plan {
	const day = 24 * 3600
	return plan{uid: "edge", title: "Edge", since: "now-3h", about: "Responses, latency, connections and the certificate of the public address.", rows: []row{
		{title: "Requests", height: 9, panels: []panel{
			graph(8, "Responses by status", "reqps", "Responses per second. Traefik returns 502 or 504 if it doesn't reach the gateway.", perSecond(requestsAtEdge(""), "code"), "{{code}}"),
			{width: 8, title: "Refused requests", unit: "reqps", none: "no refused requests",
				about: "Responses per second that are 401, 404 or 429. 429: a client exceeds a limit.",
				asked: ask(perSecond(requestsAtEdge(`, code=~"401|404|429"`), "code"), "{{code}}")},
			quantiles(8, "Duration", "traefik_entrypoint_request_duration_seconds", atEdge),
		}},
		{title: "Public address", height: 6, panels: []panel{
			graph(8, "Open connections", "none", "Open connections of clients.", "sum by (entrypoint) (traefik_open_connections{"+atEdge+"})", "{{entrypoint}}"),
			{kind: number, width: 8, title: "Responds to Prometheus", states: answers(), limits: falling(.5, 1), none: "not probed",
				about: "Whether the public address responds with a valid certificate.", asked: ask(fmt.Sprintf("min(up{job=%q})", rule.Probe), "address")},
			{kind: number, width: 8, title: "Certificate expires in", unit: "s", limits: falling(3*day, 21*day), none: "no certificate",
				about: "Remaining validity of the certificate.", asked: ask(fmt.Sprintf("min(job:certificate_not_after:timestamp_seconds{job=%q}) - time()", edgeJob), "validity")},
		}},
	}}
}

func cluster() plan {
	return plan{uid: "cluster", title: "Cluster", since: "now-3h", about: "Nodes, volumes, the API server, etcd and DNS.", rows: []row{
		{title: "Nodes", height: 8, panels: []panel{
			{width: 6, title: "CPU in use", unit: "percentunit", max: new(1.0), limits: rising(ready, full), about: "Busy share of each node's cores.",
				asked: ask(fmt.Sprintf(`1 - avg by (node) (rate(node_cpu_seconds_total{job=%q, mode="idle"}%s))`, nodeJob, rate), "{{node}}")},
			{width: 6, title: "Memory in use", unit: "percentunit", max: new(1.0), limits: rising(ready, full), about: "Share of each node's memory that isn't available.",
				asked: ask(fmt.Sprintf("max by (node) (1 - node_memory_MemAvailable_bytes{job=%q} / node_memory_MemTotal_bytes)", nodeJob), "{{node}}")},
			{kind: bars, width: 6, title: "Disks", unit: "percentunit", min: new(0.0), max: new(1.0), limits: rising(.8, ready), about: "Used share of each file system. Kubernetes evicts pods at 85 to 90 %.",
				asked: ask(fmt.Sprintf(`max by (node, device) (1 - node_filesystem_avail_bytes{job=%q, fstype!~"tmpfs|ramfs|overlay"} / node_filesystem_size_bytes)`, nodeJob), "{{node}} {{device}}")},
			{kind: bars, width: 6, title: "Volumes", unit: "percentunit", min: new(0.0), max: new(1.0), limits: rising(.8, ready), about: "Used share of each claimed volume.", none: "no volumes, or only volumes without metrics",
				asked: ask(`max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_used_bytes / kubelet_volume_stats_capacity_bytes)`, "{{namespace}}/{{persistentvolumeclaim}}")},
		}},
		{title: "Control plane and DNS", height: 8, panels: []panel{
			graph(8, "Requests to the API server", "reqps", "Responses per second by status.", perSecond(`apiserver_request_total{job="apiserver"}`, "code"), "{{code}}"),
			graph(8, "Requests in flight", "none", "Requests that the API server is working on.", `sum by (request_kind) (apiserver_current_inflight_requests{job="apiserver"})`, "{{request_kind}}"),
			graph(8, "Size of etcd", "bytes", "Size of etcd's database. At its quota, by default 2 GiB, nothing can be changed.", `max(apiserver_storage_size_bytes{job="apiserver"})`, "size"),
			graph(12, "DNS responses", "reqps", "Responses per second. SERVFAIL: CoreDNS fails, or a server that it asks.", perSecond(`coredns_dns_responses_total{job="coredns"}`, "rcode"), "{{rcode}}"),
			quantiles(12, "DNS duration", "coredns_dns_request_duration_seconds", `job="coredns"`),
		}},
	}}
}

func monitoring() plan {
	return plan{uid: "monitoring", title: "Monitoring", since: "now-3h", about: "Prometheus and Alertmanager themselves.", rows: []row{
		{title: "Prometheus", height: 8, panels: []panel{
			{kind: number, width: 6, title: "Targets down", limits: []limit{{1, bad}}, about: "Prometheus can't scrape these targets.", asked: ask("count(up == 0) or vector(0)", "targets")},
			graph(6, "Series", "none", "Series in memory. A million need about 4 GiB.", "max by (pod) (prometheus_tsdb_head_series)", "{{pod}}"),
			graph(6, "Samples", "none", "Stored samples per second.", perSecond("prometheus_tsdb_head_samples_appended_total", "pod"), "{{pod}}"),
			graph(6, "Slowest rules", "s", "Duration of the last evaluation of the slowest groups of rules.", "topk(5, max by (rule_group) (prometheus_rule_group_last_duration_seconds))", "{{rule_group}}"),
		}},
		{title: "Prometheus and Alertmanager", height: 8, panels: []panel{
			graph(6, "Memory", "bytes", "Resident memory.", `max by (pod) (process_resident_memory_bytes{job=~"prometheus|alertmanager"})`, "{{pod}}"),
			graph(6, "Alerts", "none", "Alerts by state. Suppressed: silenced or inhibited.", "max by (state) (alertmanager_alerts)", "{{state}}"),
			graph(6, "Notifications", "ops", "Notifications per second of the three busiest receivers.", "topk(3, "+perSecond("alertmanager_notifications_total", "integration")+")", "{{integration}}"),
			graph(6, "Failed notifications", "ops", "Failed attempts per second of the three worst receivers.", "topk(3, "+perSecond("alertmanager_notifications_failed_total", "integration")+")", "{{integration}}"),
		}},
	}}
}
