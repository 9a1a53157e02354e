package dashboard

import (
	"fmt"
	"slices"
	"strings"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/rule"
	"platform.example/infra/quantity"
	"platform.example/infra/release"
)

// ofService is the dashboard of one service. It has only rows for what the service has according to the catalog.
func ofService(service catalog.Service) plan {
	result := plan{
		uid: ofServices + service.Name, title: service.Name, since: "now-1h",
		about: fmt.Sprintf("Rate, errors, duration and saturation of %s, and of its dependencies.", service.Name),
		marks: []mark{switches(fmt.Sprintf("job=%q", service.Name))},
		rows:  []row{promises(service), traffic(service), saturation(service)},
	}
	for _, optional := range []struct {
		shown bool
		row   func(catalog.Service) row
	}{
		{service.Public, calls},
		{service.Cache != nil || service.Stream != nil, redisOf},
		{service.Database != "", databaseOf},
		{service.Publishes(), outbox},
		{service.Consumes(), consumer},
		{slices.ContainsFunc(service.Settings, func(s catalog.Setting) bool { return s.Variable == "WEBHOOK_URL" }), webhook},
	} {
		if optional.shown {
			result.rows = append(result.rows, optional.row(service))
		}
	}
	result.variables = append(result.variables, known("colour", "Colour", fmt.Sprintf("service_info{job=%q}", service.Name), "colour"))
	return result
}

// of selects the series of the service's replicas in the selected colours.
func of(service catalog.Service) string {
	return fmt.Sprintf(`job=%q, colour=~"$colour"`, service.Name)
}

func promises(service catalog.Service) row {
	promised := service.Objectives
	job := fmt.Sprintf("{job=%q}", service.Name)
	return row{title: "Objectives over 30 days", height: 6, panels: []panel{
		{kind: number, width: 4, title: "Availability", unit: "percentunit", max: new(1.0), none: "no requests",
			about: fmt.Sprintf("Share of the requests in 30 days that didn't return 5xx. Objective: %g %%.", 100*promised.Availability),
			asked: ask("1 - "+Errors+"30d"+job, "kept"), limits: falling(promised.Availability, promised.Availability+(1-promised.Availability)/2)},
		{kind: number, width: 4, title: "Error budget left", unit: "percentunit", max: new(1.0),
			about: "Unspent share of the error budget of 30 days. Below 0 the objective is missed.",
			asked: ask(ErrorBudget+job, "left"), limits: budgets()},
		{kind: number, width: 4, title: "Within latency objective", unit: "percentunit", max: new(1.0), none: "no requests",
			about: fmt.Sprintf("Share of the requests in 30 days that completed within %v. Objective: %g %%.", promised.Latency, 100*promised.LatencyShare),
			asked: ask("1 - "+Slow+"30d"+job, "kept"), limits: falling(promised.LatencyShare, promised.LatencyShare+(1-promised.LatencyShare)/2)},
		{kind: number, width: 4, title: "Latency budget left", unit: "percentunit", max: new(1.0),
			about: "Unspent share of the latency budget of 30 days.",
			asked: ask(LatencyBudget+job, "left"), limits: budgets()},
		{width: 8, title: "Burn rate", none: "no requests",
			about: "Burn rate of the error budget: 1 spends it in exactly 30 days. 14.4 over an hour or 6 over six hours pages somebody, if a " +
				"breach of the service's objective is a page.",
			asked: []query{
				{fmt.Sprintf("%s%s / (1 - %s%s)", Errors+"1h", job, AvailabilityObjective, job), "over 1 h"},
				{fmt.Sprintf("%s%s / (1 - %s%s)", Errors+"6h", job, AvailabilityObjective, job), "over 6 h"},
			},
			limits: rising(6, 14.4)},
	}}
}

func traffic(service catalog.Service) row {
	series, by := rule.RequestsOf(service), "endpoint"
	if service.Public {
		by = "service"
	}
	selector := of(service)
	perReplica := func(counter string) string {
		return "sum by (colour, version) (" +
			versioned(fmt.Sprintf("sum by (namespace, pod, colour) (rate(%s{%s}%s))", counter, selector, rate), service.Name) + ")"
	}
	var durations []query
	for _, q := range []float64{.5, .95, .99} {
		buckets := versioned(fmt.Sprintf("sum by (namespace, pod, colour, le) (rate(%s_bucket{%s}%s))", series.Duration, selector, rate), service.Name)
		durations = append(durations, query{
			fmt.Sprintf("histogram_quantile(%g, sum by (le, colour, version) (%s))", q, buckets),
			fmt.Sprintf("p%g {{colour}} {{version}}", 100*q),
		})
	}
	return row{title: "Requests", height: 8, panels: []panel{
		{width: 8, title: "Rate", unit: "reqps", byColour: true, about: "Answered requests per second, by colour and version.",
			asked: ask(perReplica(series.Total), "{{colour}} {{version}}")},
		{width: 8, title: "Errors", unit: "percentunit", byColour: true,
			about:  "Share of the requests that returned 5xx, by colour and version. Dashed: the objective over 30 days.",
			none:   "no requests",
			asked:  ask(fmt.Sprintf("((%s) or (%s) * 0) / ((%s) > 0)", perReplica(series.Failed), perReplica(series.Total), perReplica(series.Total)), "{{colour}} {{version}}"),
			limits: []limit{{1 - service.Objectives.Availability, careful}}},
		{width: 8, title: "Duration", unit: "s", none: "no requests",
			about: fmt.Sprintf("50 %%, 95 %% and 99 %% of the requests take no longer. Dashed: the objective for %g %% of them.",
				100*service.Objectives.LatencyShare),
			asked:  durations,
			limits: []limit{{service.Objectives.Latency.Seconds(), careful}}},
		graph(12, "Rate by "+by, "reqps", "Answered requests per second, by "+by+" and method: the top ten.",
			"topk(10, "+perSecond(series.Total+"{"+selector+"}", by+", method")+")", "{{method}} {{"+by+"}}"),
		graph(12, "Errors by "+by, "reqps", "Requests per second that returned 5xx, by "+by+": the top ten.",
			"topk(10, "+perSecond(series.Failed+"{"+selector+"}", by)+")", "{{"+by+"}}"),
	}}
}

func saturation(service catalog.Service) row {
	has := service.Resources
	mine := pods(named(service.Name) + `, label_colour=~"$colour"`)
	perPod := func(value string) string {
		return fmt.Sprintf("sum by (pod, colour) (sum by (namespace, pod) (%s) %s %s)", value, ofPod, mine)
	}
	const ours = `namespace="` + appsNamespace + `", container!=""`
	autoscaler := fmt.Sprintf(`horizontalpodautoscaler=~"%s-(%s)", namespace=%q`, service.Name, release.Blue+"|"+release.Green, appsNamespace)
	return row{title: "Saturation", height: 8, panels: []panel{
		{width: 6, title: "CPU",
			about:  fmt.Sprintf("Cores in use by each replica. Dashed: its request (%v) and its limit (%v).", has.CPURequest, has.CPULimit),
			asked:  ask(perPod(used(cpu, appsNamespace)), "{{pod}}"),
			limits: rising(float64(has.CPURequest)/1000, float64(has.CPULimit)/1000)},
		{width: 6, title: "CPU throttled", unit: "percentunit",
			about: "Share of the scheduler's periods of 100 ms in which a replica was throttled at its limit. Throttling makes responses " +
				"slow while CPU usage looks low.",
			asked: ask(fmt.Sprintf("(%s) / (%s > 0)",
				perPod(fmt.Sprintf("rate(container_cpu_cfs_throttled_periods_total{%s}%s)", ours, rate)),
				perPod(fmt.Sprintf("rate(container_cpu_cfs_periods_total{%s}%s)", ours, rate))), "{{pod}}"),
			none:   "no replica runs long enough",
			limits: rising(.1, .5)},
		{width: 6, title: "Memory", unit: "bytes",
			about:  fmt.Sprintf("Memory in use by each replica. At %v, the upper line, Kubernetes kills it.", has.Memory),
			asked:  ask(perPod(used(memory, appsNamespace)), "{{pod}}"),
			limits: rising(ready*bytes(has.Memory), bytes(has.Memory))},
		{width: 6, title: "Replicas",
			about: "Ready replicas, and the autoscaler's bounds. At the maximum, more load makes responses slower.",
			asked: []query{
				{"sum by (colour) (" + deployments("kube_deployment_status_replicas_available", named(service.Name)+`, label_colour=~"$colour"`) + ")", "{{colour}} ready"},
				{"max(kube_horizontalpodautoscaler_spec_min_replicas{" + autoscaler + "})", "minimum"},
				{"max(kube_horizontalpodautoscaler_spec_max_replicas{" + autoscaler + "})", "maximum"},
			},
			byColour: true},
	}}
}

// calls shows the gateway's calls to other services.
func calls(service catalog.Service) row {
	selector := of(service)
	return row{title: "Called services: " + strings.Join(service.Calls, ", "), height: 8, panels: []panel{
		{kind: timeline, width: 12, title: "Breakers",
			about: "Open: the gateway refuses requests at once, because the service has failed. Half-open: it tries one request. Shows " +
				"the worst replica.",
			states: []state{{0, "closed", good}, {1, "half-open", careful}, {2, "open", bad}},
			asked:  ask(fmt.Sprintf("max by (service) (gateway_breaker_state{%s})", selector), "{{service}}")},
		{width: 12, title: "In flight", limits: rising(ready*inFlightMost, inFlightMost),
			about: fmt.Sprintf("Requests in flight to each service, on the replica with the most. At %d, the bulkhead, the gateway refuses "+
				"further ones, so that one slow service doesn't affect the others.", inFlightMost),
			asked: ask(fmt.Sprintf("max by (service) (gateway_in_flight_requests{%s})", selector), "{{service}}")},
		{width: 12, title: "Rejections and retries", unit: "reqps",
			about: "Requests per second that the gateway refused because of an open breaker or a full bulkhead, and requests that it retried.",
			asked: []query{
				{perSecond("gateway_rejections_total{"+selector+"}", "service, reason"), "{{service}}: {{reason}}"},
				{perSecond("gateway_retries_total{"+selector+"}", "service"), "{{service}}: retries"},
			}},
		graph(12, "Refused by limits", "reqps", "Requests per second that returned 429, by limit. Those of sign_in_account and sign_in_address are attempts to guess passwords.",
			perSecond("gateway_rate_limited_total{"+selector+"}", "limit"), "{{limit}}"),
	}}
}

func redisOf(service catalog.Service) row {
	selector := of(service)
	panels := []panel{
		{width: 12, title: "Redis: p99 latency", unit: "s", limits: []limit{{.05, careful}},
			about: "99 % of the commands take no longer, measured by the service: including network and waiting.",
			none:  "no commands",
			asked: ask(fmt.Sprintf("histogram_quantile(0.99, sum by (le, command) (rate(redis_command_duration_seconds_bucket{%s}%s)))", selector, rate), "{{command}}")},
		{width: 12, title: "Redis: errors and connections",
			about: "Commands that failed and waits for a connection that timed out in 5 minutes, and open connections.",
			asked: []query{
				{fmt.Sprintf("sum(increase(redis_command_errors_total{%s}[5m])) or vector(0)", selector), "failed"},
				{fmt.Sprintf("sum(delta(redis_pool_timeouts{%s}[5m]))", selector), "timed out"},
				{fmt.Sprintf("sum(redis_pool_connections{%s})", selector), "open"},
				{fmt.Sprintf("sum(redis_pool_idle_connections{%s})", selector), "idle"},
			}},
	}
	if service.Cache != nil && !service.Public { // the gateway only keeps shared counters in the cache
		count := func(what string) string {
			return fmt.Sprintf("sum(rate(%s_cache_%s_total{%s}%s))", service.Role(), what, selector, rate)
		}
		panels = append(panels, panel{width: 24, title: "Cache", unit: "ops", none: "no lookups",
			about: "Cache hits and misses per second, and lookups that skipped the cache because it was unavailable.",
			asked: []query{{count("hits"), "hits"}, {count("misses"), "misses"}, {count("spared"), "skipped"}}})
	}
	return row{title: "Redis", height: 8, panels: panels}
}

func databaseOf(service catalog.Service) row {
	selector := of(service)
	return row{title: "Postgres: database " + service.Database, height: 8, panels: []panel{
		{width: 12, title: "Connections in use",
			about:  fmt.Sprintf("Connections of each replica's pool in use. At %d, the maximum, requests wait.", catalog.DatabaseConnections),
			asked:  ask(fmt.Sprintf("max by (pod) (postgres_pool_acquired_connections{%s})", selector), "{{pod}}"),
			limits: rising(ready*catalog.DatabaseConnections, catalog.DatabaseConnections),
			link:   open("Data stores", storesUID)},
		{width: 12, title: "Waiting for a connection", unit: "s", limits: []limit{{.1, careful}},
			about:    "Total seconds that requests wait for a connection, per second.",
			asked:    ask(perSecond("postgres_pool_acquire_wait_seconds_total{"+selector+"}", "colour"), "{{colour}} waits"),
			byColour: true},
	}}
}

func outbox(service catalog.Service) row {
	prefix, selector := service.Role(), of(service)
	return row{title: "Published events", height: 8, panels: []panel{
		graph(12, "Published", "ops", "Events per second that were added to the stream, including repetitions.", perSecond(prefix+"_events_published_total{"+selector+"}", "type"), "{{type}}"),
		{width: 12, title: "Waiting to be published", limits: []limit{{100, careful}},
			about: "Events in the database that aren't in the stream yet. While Redis is unavailable they are late, but not lost.",
			asked: ask(fmt.Sprintf("max(%s_outbox_unpublished{%s})", prefix, selector), "events")},
	}}
}

func consumer(service catalog.Service) row {
	prefix, selector := service.Role(), of(service)
	return row{title: "Handled events", height: 8, panels: []panel{
		graph(10, "Handled", "ops", "Events per second by outcome. A duplicate was handled before; a dead event couldn't be handled.",
			perSecond(prefix+"_events_handled_total{"+selector+"}", "consumer, type, outcome"), "{{consumer}}: {{type}}: {{outcome}}"),
		{width: 9, title: "Waiting in the stream", limits: rising(100, 1000),
			about: "Events that no consumer has received yet (lag), and events in progress (pending).",
			asked: []query{
				{fmt.Sprintf("max by (consumer) (%s_stream_lag{%s})", prefix, selector), "{{consumer}}: lag"},
				{fmt.Sprintf("max by (consumer) (%s_stream_pending{%s})", prefix, selector), "{{consumer}}: pending"},
			}},
		{kind: number, width: 5, title: "Dead letters", limits: []limit{{1, bad}},
			about: "Events that couldn't be handled. Each is a user without a notification.",
			asked: ask(fmt.Sprintf("max(%s_dead_letters{%s})", prefix, selector), "dead")},
	}}
}

func webhook(service catalog.Service) row {
	return row{title: "Webhook", height: 7, panels: []panel{
		{width: 24, title: "Deliveries", unit: "ops", none: "nothing to deliver, or no URL is set",
			about: "Attempts per second to deliver to the stack's URL, by outcome.",
			asked: ask(perSecond(service.Role()+"_webhook_deliveries_total{"+of(service)+"}", "outcome"), "{{outcome}}")},
	}}
}

// bytes converts MiB to bytes.
func bytes(amount quantity.Bytes) float64 { return float64(amount) * (1 << 20) }
