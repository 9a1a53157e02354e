package dashboard

import (
	"fmt"

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
		variables: []grafana.VariableModel{choice("database", "Database", databases...)},
		rows: []row{
			{title: "Availability", height: 4, panels: []panel{
				{kind: number, width: 8, title: "Postgres", states: answers(), limits: falling(.5, 1),
					about: "Whether Postgres responds to the exporter.", asked: ask("min(pg_up{"+postgres+"})", "Postgres")},
				{kind: number, width: 8, title: "Redis", states: answers(), limits: falling(.5, 1),
					about: "Whether the cache and the stream respond to their exporters.",
					asked: ask("min by (job) (redis_up{"+redis+"})", "{{job}}")},
				{kind: number, width: 8, title: "Redis by role", about: "How many Redis of the cache and the stream are primaries (master) and replicas (slave).",
					asked: ask("count by (job, role) (redis_instance_info{"+redis+"})", "{{job}}: {{role}}")},
			}},
			postgresRow(postgres, database),
			instancesRow(postgres),
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
		{width: 8, title: "Transactions", unit: "ops", about: "Transactions per second that were committed, and that were rolled back, by the service or because they failed.",
			asked: []query{
				{perSecond("pg_stat_database_xact_commit{"+database+"}", "datname"), "{{datname}}"},
				{perSecond("pg_stat_database_xact_rollback{"+database+"}", "datname"), "{{datname}}: rolled back"},
			}},
		{width: 8, title: "Buffer hit ratio", unit: "percentunit", max: new(1.0), limits: falling(.9, .98),
			about: "Share of the blocks that Postgres reads from its own memory. Below 98 % for long, it has too little memory.",
			none:  "no reads",
			asked: ask(fmt.Sprintf("sum by (datname) (rate(pg_stat_database_blks_hit{%s}%s)) / (sum by (datname) (rate(pg_stat_database_blks_hit{%s}%s) + rate(pg_stat_database_blks_read{%s}%s)) > 0)",
				database, rate, database, rate, database, rate), "{{datname}}")},
		{width: 8, title: "Longest transaction", unit: "s", limits: rising(5, 60),
			about: "Age of the oldest running transaction. A long one is a slow query, or an idle transaction that holds locks.",
			asked: ask(fmt.Sprintf("max by (datname) (pg_stat_activity_max_tx_duration{%s})", database), "{{datname}}")},
		graph(8, "Size", "bytes", "Sizes of the databases on disk.", "max by (datname) (pg_database_size_bytes{"+database+"})", "{{datname}}"),
	}}
}

// instancesRow shows the instances in the cluster and their backups. Only a primary reports its observed synchronous standbys.
func instancesRow(postgres string) row {
	const up, isPrimary = `cnpg_collector_up{job="postgres"}`, `on (pod) cnpg_collector_sync_replicas{job="postgres", value="observed"}`
	const managed = "no Postgres in the cluster"
	return row{title: "Postgres: instances and backups", height: 6, panels: []panel{
		{width: 6, title: "Instances", none: managed, about: "Instances that are up, by role. A restored Postgres cluster runs beside the live one.",
			asked: []query{
				{"sum by (cluster) (" + up + " and " + isPrimary + ")", "{{cluster}}: primary"},
				{"sum by (cluster) (" + up + " unless " + isPrimary + ")", "{{cluster}}: standbys"},
			}},
		{width: 6, title: "Files waiting for the archive", none: managed, about: "Files of the write-ahead log that aren't archived yet. More than two for long: see ArchiveLagging.",
			asked: ask(`max by (pod) (cnpg_collector_pg_wal_archive_status{job="postgres", value="ready"})`, "{{pod}}")},
		{width: 6, title: "Age of the last archived file", unit: "s", none: "nothing archived",
			about: "While somebody writes, at most about a minute: as much is lost with all volumes. Without backup.bucket, files count as archived, too.",
			asked: ask("max(pg_stat_archiver_last_archive_age{"+postgres+"}) >= 0", "last file")},
		{kind: number, width: 3, title: "Last drill", unit: "s", limits: rising(28*24*3600, 35*24*3600), none: "never",
			about: "The time since the last make restore-drill. From five weeks on, the alert BackupUntested fires.",
			asked: ask(`time() - max(kube_configmap_created{configmap="restore-drill"})`, "last drill")},
		{kind: number, width: 3, title: "Age of the last backup", unit: "s", limits: rising(25*3600, 26*3600), none: "no backup",
			about: "Backups are nightly. From 26 hours on, the alert BackupOld fires.",
			asked: ask(`time() - (max(cnpg_collector_last_available_backup_timestamp{job="postgres"}) > 0)`, "last backup")},
	}}
}

func redisRow(redis string) row {
	return row{title: "Redis", height: 8, panels: []panel{
		{width: 12, title: "Memory", unit: "bytes", about: "Memory in use, and its maximum.",
			asked: []query{
				{fmt.Sprintf("max by (job) (redis_memory_used_bytes{%s})", redis), "{{job}}"},
				{fmt.Sprintf("max by (job) (redis_memory_max_bytes{%s}) > 0", redis), "{{job}}: maximum"},
			}},
		{width: 12, title: "Evicted and expired keys", unit: "ops",
			about: "Evicted and expired keys per second. The stream must not evict any.",
			asked: []query{
				{fmt.Sprintf("max by (job) (rate(redis_evicted_keys_total{%s}%s))", redis, rate), "{{job}}: evicted"},
				{fmt.Sprintf("max by (job) (rate(redis_expired_keys_total{%s}%s))", redis, rate), "{{job}}: expired"},
			}},
	}}
}
