package dashboard

import (
	"fmt"
	"slices"
	"strings"

	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
)

// ofService is what there is to see of one service: what the catalog says that it has, and no more.
func ofService(service catalog.Service) plan {
	made := plan{
		uid: ServiceUID(service.Name), title: service.Name, since: "now-1h",
		about: fmt.Sprintf("Rate, errors, duration and saturation of %s, and of what it uses.", service.Name),
		marks: []mark{switches(fmt.Sprintf("job=%q", service.Name))},
		rows:  []row{promises(service), traffic(service), saturation(service)},
	}
	if service.Public {
		made.rows = append(made.rows, calls(service))
	}
	if service.Cache != nil || service.Stream != nil {
		made.rows = append(made.rows, redisOf(service))
	}
	if service.Database != "" {
		made.rows = append(made.rows, databaseOf(service))
	}
	if service.Publishes() {
		made.rows = append(made.rows, outbox(service))
	}
	if service.Consumes() {
		made.rows = append(made.rows, consumer(service))
	}
	if slices.ContainsFunc(service.Settings, func(s catalog.Setting) bool { return s.Variable == "WEBHOOK_URL" }) {
		made.rows = append(made.rows, webhook(service))
	}
	made.variables = append(made.variables, known("colour", "Colour", fmt.Sprintf("service_info{job=%q}", service.Name), "colour"))
	return made
}

// of selects the series that the service's own replicas have, in the colours that are chosen.
func of(service catalog.Service) string {
	return fmt.Sprintf(`job=%q, colour=~"$colour"`, service.Name)
}

// palette gives the lines of each colour its own, whatever else they tell apart.
func palette() map[string]string {
	hues := map[string]string{}
	for _, colour := range colours() {
		hues["/"+string(colour)+"/"] = hue(string(colour))
	}
	return hues
}

func promises(service catalog.Service) row {
	promised := service.Objectives
	job := fmt.Sprintf("{job=%q}", service.Name)
	return row{title: "Promises, over 30 days", height: 6, panels: []panel{
		{
			kind: number, width: 4, title: "Without error", unit: "percentunit", max: to(1),
			about: fmt.Sprintf("Share of the requests in 30 days that weren't answered 5xx. Promised: %g %%.", 100*promised.Availability),
			asked: ask("1 - "+Errors(Month)+job, "kept"), limits: falling(promised.Availability, promised.Availability+(1-promised.Availability)/2),
		},
		{
			kind: number, width: 4, title: "Error budget left", unit: "percentunit", max: to(1),
			about: "Of the requests that may fail in 30 days, the share that hasn't failed yet. At 0 the promise is broken.",
			asked: ask(ErrorBudget+job, "left"), limits: budgets(),
		},
		{
			kind: number, width: 4, title: "In time", unit: "percentunit", max: to(1),
			about: fmt.Sprintf("Share of the requests in 30 days that were answered within %v. Promised: %g %%.", promised.Latency, 100*promised.LatencyShare),
			asked: ask("1 - "+Slow(Month)+job, "kept"), limits: falling(promised.LatencyShare, promised.LatencyShare+(1-promised.LatencyShare)/2),
		},
		{
			kind: number, width: 4, title: "Latency budget left", unit: "percentunit", max: to(1),
			about: "Of the requests that may be slow in 30 days, the share that hasn't been slow yet.",
			asked: ask(LatencyBudget+job, "left"), limits: budgets(),
		},
		{
			kind: lines, width: 8, title: "Pace of errors", unit: "none", min: to(0),
			about: "How fast the error budget is spent: 1 spends it in exactly 30 days. From 14.4 over an hour, or 6 over six, somebody is paged if the " +
				"service's promise is one to get up for.",
			asked: []query{
				{fmt.Sprintf("%s%s / (1 - %s%s)", Errors(Hour), job, AvailabilityObjective, job), "over 1 h"},
				{fmt.Sprintf("%s%s / (1 - %s%s)", Errors(SixHours), job, AvailabilityObjective, job), "over 6 h"},
			},
			limits: rising(6, 14.4),
		},
	}}
}

func traffic(service catalog.Service) row {
	series := requestsOf(service)
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
	whom := map[string]string{"service": "the service that they are for", "endpoint": "endpoint"}[series.by]
	return row{title: "Requests", height: 8, panels: []panel{
		{
			kind: lines, width: 8, title: "Rate", unit: "reqps", min: to(0), hues: palette(),
			about: "Requests answered a second, by colour and version.",
			asked: ask(perReplica(series.Total), "{{colour}} {{version}}"),
		},
		{
			kind: lines, width: 8, title: "Errors", unit: "percentunit", min: to(0), hues: palette(),
			about: "Share of the requests answered 5xx, by colour and version; dashed is what may fail over 30 days. A counter of " +
				"errors begins with the first: until then it's 0.",
			none:   "no requests",
			asked:  ask(fmt.Sprintf("((%s) or (%s) * 0) / ((%s) > 0)", perReplica(series.Failed), perReplica(series.Total), perReplica(series.Total)), "{{colour}} {{version}}"),
			limits: []limit{{1 - service.Objectives.Availability, careful}},
		},
		{
			kind: lines, width: 8, title: "Duration", unit: "s", min: to(0), none: "no requests",
			about: fmt.Sprintf("Within this time half, 95 and 99 of 100 requests are answered; dashed is what is promised for %g %% of them.",
				100*service.Objectives.LatencyShare),
			asked:  durations,
			limits: []limit{{service.Objectives.Latency.Seconds(), careful}},
		},
		{
			kind: lines, width: 12, title: "Rate by " + series.by, unit: "reqps", min: to(0),
			about: "Requests answered a second, by " + whom + " and method: the ten busiest.",
			asked: ask(fmt.Sprintf("topk(10, sum by (%s, method) (rate(%s{%s}%s)))", series.by, series.Total, selector, rate),
				"{{method}} {{"+series.by+"}}"),
		},
		{
			kind: lines, width: 12, title: "Errors by " + series.by, unit: "reqps", min: to(0), none: "no request has failed",
			about: "Requests answered 5xx a second, by " + whom + ": the ten worst.",
			asked: ask(fmt.Sprintf("topk(10, sum by (%s) (rate(%s{%s}%s)))", series.by, series.Failed, selector, rate), "{{"+series.by+"}}"),
		},
	}}
}

func saturation(service catalog.Service) row {
	has := service.Resources
	mine := pods(named(service.Name) + `, label_colour=~"$colour"`)
	perPod := func(value string) string {
		return fmt.Sprintf("sum by (pod, colour) (sum by (namespace, pod) (%s) %s %s)", value, ofPod, mine)
	}
	const ours = `namespace="` + appsNamespace + `", container!=""`
	autoscaler := fmt.Sprintf(`horizontalpodautoscaler=~"%s-(%s)", namespace=%q`, service.Name, joined(colours()), appsNamespace)
	return row{title: "Saturation", height: 8, panels: []panel{
		{
			kind: lines, width: 6, title: "CPU", unit: "none", min: to(0),
			about:  fmt.Sprintf("Cores in use by each replica; dashed are what it asks for (%v) and where it's throttled (%v).", has.CPURequest, has.CPULimit),
			asked:  ask(perPod(used(cpu, appsNamespace)), "{{pod}}"),
			limits: rising(float64(has.CPURequest)/1000, float64(has.CPULimit)/1000),
		},
		{
			kind: lines, width: 6, title: "CPU throttled", unit: "percentunit", min: to(0),
			about: "Share of the scheduler's periods of 100 ms in which a replica wanted to go on and was stopped at its limit. It " +
				"shows as slow answers while CPU looks low.",
			asked: ask(fmt.Sprintf("(%s) / (%s > 0)",
				perPod(fmt.Sprintf("rate(container_cpu_cfs_throttled_periods_total{%s}%s)", ours, rate)),
				perPod(fmt.Sprintf("rate(container_cpu_cfs_periods_total{%s}%s)", ours, rate))), "{{pod}}"),
			none:   "no replica has run long enough",
			limits: rising(.1, .5),
		},
		{
			kind: lines, width: 6, title: "Memory", unit: "bytes", min: to(0),
			about:  fmt.Sprintf("Memory in use by each replica; at %v, the upper line, it's killed.", has.Memory),
			asked:  ask(perPod(used(memory, appsNamespace)), "{{pod}}"),
			limits: rising(ready*bytes(has.Memory), bytes(has.Memory)),
		},
		{
			kind: lines, width: 6, title: "Replicas", unit: "none", min: to(0),
			about: "Replicas that are ready, and the bounds between which the autoscaler moves. At the upper one more load makes " +
				"answers slower.",
			asked: []query{
				{"sum by (colour) (" + deployments("kube_deployment_status_replicas_available", named(service.Name)+`, label_colour=~"$colour"`) + ")", "{{colour}} ready"},
				{"max(kube_horizontalpodautoscaler_spec_min_replicas{" + autoscaler + "})", "least"},
				{"max(kube_horizontalpodautoscaler_spec_max_replicas{" + autoscaler + "})", "most"},
			},
			hues: palette(),
		},
		{
			kind: lines, width: 8, title: "Restarts", unit: "none", min: to(0),
			about:  "Restarts of containers in the last hour. One is a look into the log, three an alert.",
			asked:  ask(perPod(`increase(kube_pod_container_status_restarts_total{`+ours+`}[1h])`), "{{pod}}"),
			limits: rising(1, 3),
		},
		{
			kind: lines, width: 8, title: "Goroutines", unit: "none", min: to(0),
			about: "What each replica has in hand, waiting included. One that only rises is a leak.",
			asked: ask(fmt.Sprintf("max by (pod) (go_goroutines{%s})", of(service)), "{{pod}}"),
		},
		{
			kind: lines, width: 8, title: "File descriptors", unit: "percentunit", min: to(0), limits: rising(.8, full),
			about: "Share of the files and connections that a replica may have open at once.",
			asked: ask(fmt.Sprintf("max by (pod) (process_open_fds{%s} / process_max_fds)", of(service)), "{{pod}}"),
		},
	}}
}

// calls is the gateway's view of the services behind it.
func calls(service catalog.Service) row {
	selector := of(service)
	return row{title: "Services that it calls: " + strings.Join(service.Calls, ", "), height: 8, panels: []panel{
		{
			kind: timeline, width: 8, title: "Breakers", unit: "none",
			about: "Open: the service isn't asked, because it has failed; requests are refused at once. Half-open: one is tried. " +
				"The worst of all replicas.",
			states: []state{{0, "closed", good}, {1, "half-open", careful}, {2, "open", bad}},
			asked:  ask(fmt.Sprintf("max by (service) (gateway_breaker_state{%s})", selector), "{{service}}"),
		},
		{
			kind: lines, width: 8, title: "In flight", unit: "none", min: to(0), limits: rising(ready*inFlightMost, inFlightMost),
			about: fmt.Sprintf("Requests that a service has in hand, on the replica that waits for most. At %d, the bulkhead, "+
				"further ones are refused, so that one slow service can't take the others along.", inFlightMost),
			asked: ask(fmt.Sprintf("max by (service) (gateway_in_flight_requests{%s})", selector), "{{service}}"),
		},
		{
			kind: lines, width: 8, title: "Refused and tried again", unit: "reqps", min: to(0),
			about: "Requests a second that a service was spared, because its breaker was open or its bulkhead full, and those that " +
				"were sent a second time.",
			asked: []query{
				{fmt.Sprintf("sum by (service, reason) (rate(gateway_rejections_total{%s}%s))", selector, rate), "{{service}}: {{reason}}"},
				{fmt.Sprintf("sum by (service) (rate(gateway_retries_total{%s}%s))", selector, rate), "{{service}}: again"},
			},
		},
		{
			kind: lines, width: 12, title: "Slowest hundredth by service", unit: "s", min: to(0), none: "no requests",
			about:  "Within this time 99 of 100 requests are answered, by the service that they are for.",
			asked:  ask(requestsOf(service).quantile(.99, selector, "service"), "{{service}}"),
			limits: []limit{{service.Objectives.Latency.Seconds(), careful}},
		},
		{
			kind: lines, width: 12, title: "Age of revocations", unit: "s", min: to(0), limits: []limit{{secondsUntilStale, careful}},
			about: "Time since the gateway last heard which sessions are revoked. While it rises, a signed-out session may still be let in.",
			asked: ask(fmt.Sprintf("max by (pod) (gateway_revocations_age_seconds{%s})", selector), "{{pod}}"),
		},
	}}
}

func redisOf(service catalog.Service) row {
	selector := of(service)
	panels := []panel{
		{
			kind: lines, width: 8, title: "Redis commands", unit: "ops", min: to(0),
			about: "Commands a second that the service sends to Redis.", none: "no command sent",
			asked: ask(fmt.Sprintf("sum by (command) (rate(redis_command_duration_seconds_count{%s}%s))", selector, rate), "{{command}}"),
		},
		{
			kind: lines, width: 8, title: "Redis: slowest hundredth", unit: "s", min: to(0), limits: []limit{{.05, careful}},
			about: "Within this time 99 of 100 commands are answered, as the service sees it: network and waiting included.",
			none:  "no command sent",
			asked: ask(fmt.Sprintf("histogram_quantile(0.99, sum by (le, command) (rate(redis_command_duration_seconds_bucket{%s}%s)))", selector, rate), "{{command}}"),
		},
		{
			kind: lines, width: 8, title: "Redis: errors and connections", unit: "none", min: to(0),
			about: "Commands that failed in 5 minutes, waits for a connection that were given up, and connections open.",
			asked: []query{
				{fmt.Sprintf("sum(increase(redis_command_errors_total{%s}[5m])) or vector(0)", selector), "failed"},
				{fmt.Sprintf("sum(delta(redis_pool_timeouts{%s}[5m]))", selector), "gave up waiting"},
				{fmt.Sprintf("sum(redis_pool_connections{%s})", selector), "open"},
				{fmt.Sprintf("sum(redis_pool_idle_connections{%s})", selector), "idle"},
			},
		},
	}
	if service.Cache == nil || service.Public { // the gateway shares counters there, and looks nothing up
		return row{title: "Redis", height: 8, panels: panels}
	}
	prefix := service.Role() + "_cache_"
	count := func(what string) string {
		return fmt.Sprintf("sum(rate(%s%s_total{%s}%s))", prefix, what, selector, rate)
	}
	hits, misses := count("hits"), count("misses")
	cache := []panel{
		{
			kind: number, width: 6, title: "Answered from the cache", unit: "percentunit", min: to(0), max: to(1), limits: falling(.2, .5),
			about: "Share of what was looked up that the cache had. It falls after an update and while Redis is away; then Postgres has more to do.",
			none:  "nothing looked up",
			asked: ask(fmt.Sprintf("%s / (%s + %s > 0)", hits, hits, misses), "hits"),
		},
		{
			kind: lines, width: 18, title: "Cache", unit: "ops", min: to(0),
			about: "Look-ups a second that the cache could answer, that it couldn't, and for which it wasn't asked because it hadn't answered before.",
			none:  "nothing looked up",
			asked: []query{{hits, "hits"}, {misses, "misses"}, {count("spared"), "not asked"}},
		},
	}
	return row{title: "Redis", height: 8, panels: append(cache, panels...)}
}

func databaseOf(service catalog.Service) row {
	selector := of(service)
	database := fmt.Sprintf("job=%q, datname=%q", postgresJob, service.Database)
	return row{title: "Postgres: database " + service.Database, height: 8, panels: []panel{
		{
			kind: lines, width: 8, title: "Connections in use", unit: "none", min: to(0),
			about:  fmt.Sprintf("Connections of each replica that a request holds right now. At %d it has no more, and requests wait.", catalog.DatabaseConnections),
			asked:  ask(fmt.Sprintf("max by (pod) (postgres_pool_acquired_connections{%s})", selector), "{{pod}}"),
			limits: rising(ready*catalog.DatabaseConnections, catalog.DatabaseConnections),
		},
		{
			kind: lines, width: 8, title: "Waiting for a connection", unit: "s", min: to(0), limits: []limit{{.1, careful}},
			about: "Seconds that requests wait for a connection, all together, for each second that passes.",
			asked: []query{
				{fmt.Sprintf("sum by (colour) (rate(postgres_pool_acquire_wait_seconds_total{%s}%s))", selector, rate), "{{colour}} waits"},
			},
			hues: palette(),
		},
		{
			kind: lines, width: 8, title: "Waits given up", unit: "none", min: to(0), limits: []limit{{1, careful}},
			about: "Requests in 5 minutes that didn't get a connection before their deadline.",
			asked: ask(fmt.Sprintf("sum by (colour) (increase(postgres_pool_canceled_acquires_total{%s}[5m]))", selector), "{{colour}}"),
			hues:  palette(),
		},
		{
			kind: lines, width: 12, title: "Transactions", unit: "ops", min: to(0),
			about: "Transactions a second in this database, and those that were rolled back.",
			asked: []query{
				{fmt.Sprintf("sum(rate(pg_stat_database_xact_commit{%s}%s))", database, rate), "committed"},
				{fmt.Sprintf("sum(rate(pg_stat_database_xact_rollback{%s}%s))", database, rate), "rolled back"},
			},
			link: open("Data stores", storesUID),
		},
		{
			kind: lines, width: 12, title: "Size", unit: "bytes", min: to(0),
			about: "The database on disk.",
			asked: ask(fmt.Sprintf("max(pg_database_size_bytes{%s})", database), service.Database),
		},
	}}
}

func outbox(service catalog.Service) row {
	prefix := service.Role()
	selector := of(service)
	return row{title: "Events that it publishes", height: 8, panels: []panel{
		{
			kind: lines, width: 8, title: "Published", unit: "ops", min: to(0), none: "no event published",
			about: "Events added to the stream a second, repetitions included.",
			asked: ask(fmt.Sprintf("sum by (type) (rate(%s_events_published_total{%s}%s))", prefix, selector, rate), "{{type}}"),
		},
		{
			kind: lines, width: 8, title: "Waiting to be published", unit: "none", min: to(0), limits: []limit{{100, careful}},
			about: "Events that stand in the database and not yet in the stream. They aren't lost while Redis is away; they are late.",
			asked: ask(fmt.Sprintf("max(%s_outbox_unpublished{%s})", prefix, selector), "events"),
		},
		{
			kind: lines, width: 4, title: "Oldest of them", unit: "s", min: to(0), limits: rising(30, 300),
			about: "Age of the oldest event that waits.",
			asked: ask(fmt.Sprintf("max(%s_outbox_oldest_unpublished_seconds{%s})", prefix, selector), "age"),
		},
		{
			kind: number, width: 4, title: "Losses of the stream", unit: "none", limits: []limit{{1, careful}},
			about: "Times in the last day that the stream was found to have lost entries, as after Redis lost its disk. They were published again.",
			asked: ask(fmt.Sprintf("sum(increase(%s_stream_losses_total{%s}[1d]))", prefix, selector), "losses"),
		},
	}}
}

func consumer(service catalog.Service) row {
	prefix := service.Role()
	selector := of(service)
	return row{title: "Events that it handles", height: 8, panels: []panel{
		{
			kind: lines, width: 10, title: "Handled", unit: "ops", min: to(0), none: "no event handled",
			about: "Events done with a second, by what became of them. A duplicate was handled before; what is dead couldn't be handled.",
			asked: ask(fmt.Sprintf("sum by (consumer, type, outcome) (rate(%s_events_handled_total{%s}%s))", prefix, selector, rate), "{{consumer}}: {{type}}: {{outcome}}"),
		},
		{
			kind: lines, width: 9, title: "Waiting in the stream", unit: "none", min: to(0), limits: rising(100, 1000),
			about: "Events that nobody has been given yet (lag), and those that are being handled (pending).",
			asked: []query{
				{fmt.Sprintf("max by (consumer) (%s_stream_lag{%s})", prefix, selector), "{{consumer}}: lag"},
				{fmt.Sprintf("max by (consumer) (%s_stream_pending{%s})", prefix, selector), "{{consumer}}: pending"},
			},
		},
		{
			kind: number, width: 5, title: "Dead letters", unit: "none", limits: []limit{{1, bad}},
			about: "Events that couldn't be handled and were put aside. Each is somebody who wasn't told.",
			asked: ask(fmt.Sprintf("max(%s_dead_letters{%s})", prefix, selector), "dead"),
		},
	}}
}

func webhook(service catalog.Service) row {
	prefix := service.Role()
	selector := of(service)
	return row{title: "Calls to the outside", height: 7, panels: []panel{
		{
			kind: lines, width: 16, title: "Deliveries", unit: "ops", min: to(0), none: "nothing to deliver, or no address is set",
			about: "Attempts a second to deliver to the address that the stack gives, by how they ended.",
			asked: ask(fmt.Sprintf("sum by (outcome) (rate(%s_webhook_deliveries_total{%s}%s))", prefix, selector, rate), "{{outcome}}"),
		},
		{
			kind: lines, width: 8, title: "Deliveries that wait", unit: "none", min: to(0), limits: []limit{{100, careful}},
			about: "Neither made nor given up.", none: "no address is set",
			asked: ask(fmt.Sprintf("max(%s_webhook_pending{%s})", prefix, selector), "waiting"),
		},
	}}
}

// bytes is an amount of memory as Prometheus counts it.
func bytes(amount quantity.Bytes) float64 { return float64(amount) * (1 << 20) }

func joined[T ~string](words []T) string {
	var all []string
	for _, word := range words {
		all = append(all, string(word))
	}
	return strings.Join(all, "|")
}

// among is a regular expression of the services' names.
func among(services []catalog.Service) string { return joined(names(services)) }
