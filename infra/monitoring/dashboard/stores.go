package dashboard

import (
	"fmt"

	"platform.example/infra/catalog"
)

// stores is Postgres and both kinds of Redis.
func stores(services []catalog.Service) plan {
	postgres := fmt.Sprintf("job=%q", postgresJob)
	database := postgres + `, datname=~"$database"`
	redis := fmt.Sprintf(`job=~"%s|%s"`, cacheJob, streamJob)
	var databases []string
	for _, service := range services {
		if service.Database != "" {
			databases = append(databases, service.Database)
		}
	}
	return plan{
		uid: storesUID, title: "Data stores", since: "now-3h",
		about:     "Postgres, the Redis that may forget (cache) and the Redis that holds the events (stream).",
		variables: nil,
		rows: append([]row{
			{title: "Do they answer?", height: 4, panels: []panel{
				{
					kind: number, width: 6, title: "Postgres", unit: "none", states: answers(), limits: falling(.5, 1),
					about: "Whether the exporter gets an answer from Postgres.", asked: ask("min(pg_up{"+postgres+"})", "Postgres"),
				},
				{
					kind: number, width: 6, title: "Redis", unit: "none", states: answers(), limits: falling(.5, 1),
					about: "Whether the exporters get an answer from the cache and from the stream.",
					asked: ask("min by (job) (redis_up{"+redis+"})", "{{job}}"),
				},
				{
					kind: number, width: 6, title: "Connections of Postgres", unit: "percentunit", limits: rising(.8, ready),
					about: "Share of the connections that Postgres takes. Beyond it, services that start can't sign in.",
					asked: ask(fmt.Sprintf("sum(pg_stat_activity_count{%s}) / max(pg_settings_max_connections{%s})", postgres, postgres), "in use"),
				},
				{
					kind: number, width: 6, title: "Memory of Redis", unit: "percentunit", limits: rising(.9, full),
					about: "Share of the memory that each Redis may use. At its end the cache forgets; the stream refuses to take events.",
					none:  "no limit is set",
					asked: ask(fmt.Sprintf("max by (job) (redis_memory_used_bytes{%s} / (redis_memory_max_bytes > 0))", redis), "{{job}}"),
				},
			}},
		}, append(postgresRows(postgres, database), append(redisRows(redis), streamRows(services)...)...)...),
	}.with(choice("database", "Database", databases))
}

func answers() []state { return []state{{0, "silent", bad}, {1, "answers", good}} }

func postgresRows(postgres, database string) []row {
	return []row{{title: "Postgres", height: 8, panels: []panel{
		{
			kind: lines, width: 8, title: "Connections by database", unit: "none", min: to(0),
			about: "Connections that are open, and the most that the server takes.",
			asked: []query{
				{fmt.Sprintf("sum by (datname) (pg_stat_activity_count{%s})", database), "{{datname}}"},
				{fmt.Sprintf("max(pg_settings_max_connections{%s})", postgres), "most"},
			},
		},
		{
			kind: lines, width: 8, title: "Transactions", unit: "ops", min: to(0),
			about: "Transactions a second that were committed.",
			asked: ask(fmt.Sprintf("sum by (datname) (rate(pg_stat_database_xact_commit{%s}%s))", database, rate), "{{datname}}"),
		},
		{
			kind: lines, width: 8, title: "Rolled back", unit: "ops", min: to(0),
			about: "Transactions a second that were undone, by the service or because they failed.",
			asked: ask(fmt.Sprintf("sum by (datname) (rate(pg_stat_database_xact_rollback{%s}%s))", database, rate), "{{datname}}"),
		},
		{
			kind: lines, width: 8, title: "Found in memory", unit: "percentunit", min: to(0), max: to(1), limits: falling(.9, .98),
			about: "Share of the blocks asked for that Postgres had in its own memory. Below 98 % for long, it has too little.",
			none:  "no block was asked for",
			asked: ask(fmt.Sprintf("sum by (datname) (rate(pg_stat_database_blks_hit{%s}%s)) / (sum by (datname) (rate(pg_stat_database_blks_hit{%s}%s) + rate(pg_stat_database_blks_read{%s}%s)) > 0)",
				database, rate, database, rate, database, rate), "{{datname}}"),
		},
		{
			kind: lines, width: 8, title: "Locks", unit: "none", min: to(0),
			about: "Locks that are held, by mode. ExclusiveLock and AccessExclusiveLock for long keep others waiting.",
			asked: ask(fmt.Sprintf("sum by (mode) (pg_locks_count{%s}) > 0", database), "{{mode}}"),
			none:  "no lock is held",
		},
		{
			kind: lines, width: 8, title: "Deadlocks", unit: "none", min: to(0), limits: []limit{{1, careful}},
			about: "Transactions in 5 minutes that waited for each other, of which Postgres ended one.",
			asked: []query{
				{fmt.Sprintf("sum by (datname) (increase(pg_stat_database_deadlocks{%s}[5m]))", database), "{{datname}}"},
			},
		},
		{
			kind: lines, width: 8, title: "Longest transaction", unit: "s", min: to(0), limits: rising(5, 60),
			about: "Age of the oldest transaction that still runs. What is long here is a slow query, or one that holds locks and forgot them.",
			asked: ask(fmt.Sprintf("max by (datname) (pg_stat_activity_max_tx_duration{%s})", database), "{{datname}}"),
		},
		{
			kind: lines, width: 8, title: "Sorted on disk", unit: "Bps", min: to(0),
			about: "Bytes a second that queries wrote to temporary files, because they needed more memory than they may use: slow queries.",
			asked: ask(fmt.Sprintf("sum by (datname) (rate(pg_stat_database_temp_bytes{%s}%s))", database, rate), "{{datname}}"),
		},
		{
			kind: lines, width: 8, title: "Size", unit: "bytes", min: to(0), stacked: true,
			about: "Databases on disk, one upon the other.",
			asked: ask(fmt.Sprintf("max by (datname) (pg_database_size_bytes{%s})", database), "{{datname}}"),
		},
	}}}
}

func redisRows(redis string) []row {
	return []row{{title: "Redis", height: 8, panels: []panel{
		{
			kind: lines, width: 8, title: "Memory", unit: "bytes", min: to(0),
			about: "Memory in use, and what each may use.",
			asked: []query{
				{fmt.Sprintf("max by (job) (redis_memory_used_bytes{%s})", redis), "{{job}}"},
				{fmt.Sprintf("max by (job) (redis_memory_max_bytes{%s}) > 0", redis), "{{job}}: most"},
			},
		},
		{
			kind: lines, width: 8, title: "Found", unit: "percentunit", min: to(0), max: to(1),
			about: "Share of the keys asked for that were there.", none: "no key was asked for",
			asked: ask(fmt.Sprintf("max by (job) (rate(redis_keyspace_hits_total{%s}%s) / (rate(redis_keyspace_hits_total{%s}%s) + rate(redis_keyspace_misses_total{%s}%s) > 0))",
				redis, rate, redis, rate, redis, rate), "{{job}}"),
		},
		{
			kind: lines, width: 8, title: "Forgotten", unit: "ops", min: to(0),
			about: "Keys a second that were evicted to make room, and those whose time was over. The stream must evict nothing.",
			asked: []query{
				{fmt.Sprintf("max by (job) (rate(redis_evicted_keys_total{%s}%s))", redis, rate), "{{job}}: evicted"},
				{fmt.Sprintf("max by (job) (rate(redis_expired_keys_total{%s}%s))", redis, rate), "{{job}}: expired"},
			},
		},
		{
			kind: lines, width: 8, title: "Commands", unit: "ops", min: to(0),
			about: "Commands a second.",
			asked: ask(fmt.Sprintf("max by (job) (rate(redis_commands_processed_total{%s}%s))", redis, rate), "{{job}}"),
		},
		{
			kind: lines, width: 8, title: "Clients", unit: "none", min: to(0),
			about: "Connections open, and those that wait for an entry of the stream.",
			asked: []query{
				{fmt.Sprintf("max by (job) (redis_connected_clients{%s})", redis), "{{job}}"},
				{fmt.Sprintf("max by (job) (redis_blocked_clients{%s})", redis), "{{job}}: wait"},
			},
		},
		{
			kind: lines, width: 8, title: "Slow commands", unit: "none", min: to(0),
			about: "Commands in 5 minutes that took longer than Redis' limit (10 ms unless set).",
			asked: ask(fmt.Sprintf("max by (job) (clamp_min(delta(redis_slowlog_last_id{%s}[5m]), 0))", redis), "{{job}}"),
		},
	}}}
}

// streamRows is what the services say of the stream: who consumes it, how far behind they are.
func streamRows(services []catalog.Service) []row {
	var waiting, unpublished, dead []query
	for _, service := range services {
		selector := fmt.Sprintf("{job=%q}", service.Name)
		prefix := service.Role()
		if service.Consumes() {
			waiting = append(waiting,
				query{"max by (consumer) (" + prefix + "_stream_lag" + selector + ")", "{{consumer}}: lag"},
				query{"max by (consumer) (" + prefix + "_stream_pending" + selector + ")", "{{consumer}}: pending"})
		}
		if service.Redrives {
			dead = append(dead, query{"max(" + prefix + "_dead_letters" + selector + ")", service.Name})
		}
		if service.Publishes() {
			unpublished = append(unpublished, query{"max(" + prefix + "_outbox_unpublished" + selector + ")", service.Name})
		}
	}
	var panels []panel
	if waiting != nil {
		panels = append(panels, panel{
			kind: lines, width: 10, title: "Behind the stream", unit: "none", min: to(0), limits: rising(100, 1000), asked: waiting,
			about: "Events that a consumer hasn't been given yet (lag), and those that it is handling (pending).",
		}, panel{
			kind: number, width: 4, title: "Dead letters", unit: "none", limits: []limit{{1, bad}}, asked: dead,
			about: "Events that couldn't be handled and were put aside.",
		})
	}
	if unpublished != nil {
		panels = append(panels, panel{
			kind: lines, width: 10, title: "Waiting to be published", unit: "none", min: to(0), limits: []limit{{100, careful}}, asked: unpublished,
			about: "Events that stand in a service's database and not yet in the stream.",
		})
	}
	if panels == nil {
		return nil
	}
	return []row{{title: "Stream of events", height: 8, panels: panels}}
}
