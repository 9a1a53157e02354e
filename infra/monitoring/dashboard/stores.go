package dashboard

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"platform.example/infra/catalog"
)

// stores shows Postgres and both kinds of Redis.
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
		about:     "Postgres, the Redis of the cache and the Redis of the stream. The services' dashboards show the events in the stream.",
		variables: []cog.Builder[grafana.VariableModel]{choice("database", "Database", databases)},
		rows: []row{
			{title: "Availability", height: 4, panels: []panel{
				{kind: number, width: 6, title: "Postgres", states: answers(), limits: falling(.5, 1),
					about: "Whether Postgres responds to the exporter.", asked: ask("min(pg_up{"+postgres+"})", "Postgres")},
				{kind: number, width: 6, title: "Redis", states: answers(), limits: falling(.5, 1),
					about: "Whether the cache and the stream respond to their exporters.",
					asked: ask("min by (job) (redis_up{"+redis+"})", "{{job}}")},
				{kind: number, width: 6, title: "Connections of Postgres", unit: "percentunit", limits: rising(.8, ready),
					about: "Used share of max_connections. At the maximum, new replicas can't connect.",
					asked: ask(fmt.Sprintf("sum(pg_stat_activity_count{%s}) / max(pg_settings_max_connections{%s})", postgres, postgres), "in use")},
				{kind: number, width: 6, title: "Memory of Redis", unit: "percentunit", limits: rising(.9, full),
					about: "Used share of maxmemory. At the maximum, the cache evicts entries and the stream refuses events.",
					none:  "no limit is set",
					asked: ask(fmt.Sprintf("max by (job) (redis_memory_used_bytes{%s} / (redis_memory_max_bytes > 0))", redis), "{{job}}")},
			}},
			postgresRow(postgres, database),
			redisRow(redis),
		},
	}
}

func answers() []state { return []state{{0, "down", bad}, {1, "up", good}} }

func postgresRow(postgres, database string) row {
	return row{title: "Postgres", height: 8, panels: []panel{
		{width: 8, title: "Connections by database", about: "Open connections, and the server's maximum.",
			asked: []query{
				{fmt.Sprintf("sum by (datname) (pg_stat_activity_count{%s})", database), "{{datname}}"},
				{fmt.Sprintf("max(pg_settings_max_connections{%s})", postgres), "maximum"},
			}},
		{width: 8, title: "Transactions", unit: "ops", about: "Committed transactions per second.",
			asked: ask(fmt.Sprintf("sum by (datname) (rate(pg_stat_database_xact_commit{%s}%s))", database, rate), "{{datname}}")},
		{width: 8, title: "Rolled back", unit: "ops",
			about: "Transactions per second that were rolled back, by the service or because they failed.",
			asked: ask(fmt.Sprintf("sum by (datname) (rate(pg_stat_database_xact_rollback{%s}%s))", database, rate), "{{datname}}")},
		{width: 8, title: "Buffer hit ratio", unit: "percentunit", max: to(1), limits: falling(.9, .98),
			about: "Share of the blocks that Postgres reads from its own memory. Below 98 % for long, it has too little memory.",
			none:  "no reads",
			asked: ask(fmt.Sprintf("sum by (datname) (rate(pg_stat_database_blks_hit{%s}%s)) / (sum by (datname) (rate(pg_stat_database_blks_hit{%s}%s) + rate(pg_stat_database_blks_read{%s}%s)) > 0)",
				database, rate, database, rate, database, rate), "{{datname}}")},
		{width: 8, title: "Locks", about: "Held locks by mode. A long ExclusiveLock or AccessExclusiveLock blocks others.",
			asked: ask(fmt.Sprintf("sum by (mode) (pg_locks_count{%s}) > 0", database), "{{mode}}"),
			none:  "no locks"},
		{width: 8, title: "Deadlocks", limits: []limit{{1, careful}},
			about: "Deadlocks in 5 minutes. Postgres aborts one transaction of each.",
			asked: ask(fmt.Sprintf("sum by (datname) (increase(pg_stat_database_deadlocks{%s}[5m]))", database), "{{datname}}")},
		{width: 8, title: "Longest transaction", unit: "s", limits: rising(5, 60),
			about: "Age of the oldest running transaction. A long one is a slow query, or an idle transaction that holds locks.",
			asked: ask(fmt.Sprintf("max by (datname) (pg_stat_activity_max_tx_duration{%s})", database), "{{datname}}")},
		{width: 8, title: "Temporary files", unit: "Bps",
			about: "Bytes per second that queries write to temporary files, because they exceed work_mem. Such queries are slow.",
			asked: ask(fmt.Sprintf("sum by (datname) (rate(pg_stat_database_temp_bytes{%s}%s))", database, rate), "{{datname}}")},
		{width: 8, title: "Size", unit: "bytes", stacked: true, about: "Sizes of the databases on disk, stacked.",
			asked: ask(fmt.Sprintf("max by (datname) (pg_database_size_bytes{%s})", database), "{{datname}}")},
	}}
}

func redisRow(redis string) row {
	return row{title: "Redis", height: 8, panels: []panel{
		{width: 8, title: "Memory", unit: "bytes", about: "Memory in use, and its maximum.",
			asked: []query{
				{fmt.Sprintf("max by (job) (redis_memory_used_bytes{%s})", redis), "{{job}}"},
				{fmt.Sprintf("max by (job) (redis_memory_max_bytes{%s}) > 0", redis), "{{job}}: maximum"},
			}},
		{width: 8, title: "Hit ratio", unit: "percentunit", max: to(1),
			about: "Share of the lookups of keys that found one.", none: "no lookups",
			asked: ask(fmt.Sprintf("max by (job) (rate(redis_keyspace_hits_total{%s}%s) / (rate(redis_keyspace_hits_total{%s}%s) + rate(redis_keyspace_misses_total{%s}%s) > 0))",
				redis, rate, redis, rate, redis, rate), "{{job}}")},
		{width: 8, title: "Evicted and expired keys", unit: "ops",
			about: "Evicted and expired keys per second. The stream must not evict any.",
			asked: []query{
				{fmt.Sprintf("max by (job) (rate(redis_evicted_keys_total{%s}%s))", redis, rate), "{{job}}: evicted"},
				{fmt.Sprintf("max by (job) (rate(redis_expired_keys_total{%s}%s))", redis, rate), "{{job}}: expired"},
			}},
		{width: 8, title: "Commands", unit: "ops", about: "Commands per second.",
			asked: ask(fmt.Sprintf("max by (job) (rate(redis_commands_processed_total{%s}%s))", redis, rate), "{{job}}")},
		{width: 8, title: "Clients", about: "Open connections, and connections that wait for an entry of the stream.",
			asked: []query{
				{fmt.Sprintf("max by (job) (redis_connected_clients{%s})", redis), "{{job}}"},
				{fmt.Sprintf("max by (job) (redis_blocked_clients{%s})", redis), "{{job}}: wait"},
			}},
		{width: 8, title: "Slow commands",
			about: "Commands in 5 minutes that took longer than Redis' threshold (by default 10 ms).",
			asked: ask(fmt.Sprintf("max by (job) (clamp_min(delta(redis_slowlog_last_id{%s}[5m]), 0))", redis), "{{job}}")},
	}}
}
