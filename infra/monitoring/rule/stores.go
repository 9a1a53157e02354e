package rule

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// stores is Postgres and the two kinds of Redis, as their exporters find them.
func stores() Group {
	const used = `sum by (job) (pg_stat_activity_count{backend_type="client backend"})`
	redisDown := func(store string, severity catalog.Severity, means string) Alert {
		return Alert{
			Name: "RedisDown", For: 30 * time.Second, KeepFiring: time.Minute, Severity: severity,
			Expr:        ofStore(fmt.Sprintf(`min by (job) (redis_up{job="%s%s"}) == 0`, store, exporter)),
			Summary:     "{{ $labels.job }}: Redis doesn't answer",
			Description: "The exporter gets no answer of {{ $labels.job }}. " + means,
		}
	}
	memory := func(severity catalog.Severity, share float64, wait time.Duration) Alert {
		return Alert{
			Name: "StreamMemory", For: wait, Severity: severity,
			Expr: ofStore(fmt.Sprintf(`max by (job) (redis_memory_used_bytes{job="%s%s"} / (redis_memory_max_bytes > 0)) > %g`,
				network.Stream, exporter, share)),
			Summary:     "{{ $labels.job }}: the memory for events is nearly used up",
			Description: "{{ $value | humanizePercentage }} of the memory of {{ $labels.job }} is used. When it is full it refuses new events, which then wait in the outbox.",
		}
	}
	return Group{Name: "stores", Alerts: []Alert{
		{
			Name: "PostgresDown", For: 30 * time.Second, KeepFiring: time.Minute, Severity: catalog.Page,
			Expr:        ofStore(`min by (job) (pg_up) == 0`),
			Summary:     "postgres: the database doesn't answer",
			Description: "The exporter can't sign in to Postgres. Whatever reads or writes a user, an order or a notification is answered 503.",
		},
		{
			Name: "PostgresConnections", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr: ofStore(`sum by (job, usename) (pg_stat_activity_count{backend_type="client backend"})
  / on (job, usename) max by (job, usename) (label_replace(pg_roles_connection_limit > 0, "usename", "$1", "rolname", "(.+)")) > 0.8`),
			Labels:      map[string]string{"limit": "role"},
			Summary:     "postgres: role {{ $labels.usename }} is short of connections",
			Description: "Role {{ $labels.usename }} holds {{ $value | humanizePercentage }} of the connections that it may open. New replicas of its service won't get any.",
		},
		{
			Name: "PostgresConnections", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        ofStore(used + ` / on (job) max by (job) (pg_settings_max_connections) > 0.8`),
			Labels:      map[string]string{"limit": "server"},
			Summary:     "postgres: the server is short of connections",
			Description: "{{ $value | humanizePercentage }} of the server's connections are open. Soon services wait for one and time out.",
		},
		redisDown(network.Stream, catalog.Page, "No event is published or handled: orders are taken and wait in the outbox, nobody is notified."),
		redisDown(network.Cache, catalog.Ticket, "Services do without: users are read from Postgres, and each replica of the gateway counts requests on its own."),
		memory(catalog.Page, 0.95, 2*time.Minute),
		memory(catalog.Ticket, 0.8, 10*time.Minute),
		{
			Name: "CacheEvicting", For: 30 * time.Minute, Severity: catalog.Ticket,
			Expr:        ofStore(fmt.Sprintf(`sum by (job) (rate(redis_evicted_keys_total{job="%s%s"}[10m])) > 5`, network.Cache, exporter)),
			Summary:     "{{ $labels.job }}: the cache is too small",
			Description: "{{ $value | humanize }} entries a second have been evicted for half an hour. What is evicted is asked of Postgres again.",
		},
		{
			Name: "StreamNotPersisting", For: time.Minute, Severity: catalog.Page,
			Expr: ofStore(fmt.Sprintf(`min by (job) (redis_aof_last_write_status{job="%s%s"}) == 0
  or min by (job) (redis_aof_last_bgrewrite_status{job="%s%s"}) == 0`, network.Stream, exporter, network.Stream, exporter)),
			Summary:     "{{ $labels.job }}: events aren't written to disk",
			Description: "The append-only file of {{ $labels.job }} can't be written or rewritten. Redis refuses events until it can.",
		},
		{
			Name: "RedisRejectsConnections", Severity: catalog.Ticket, KeepFiring: 10 * time.Minute,
			Expr:        ofStore(`sum by (job) (increase(redis_rejected_connections_total[5m])) > 0`),
			Summary:     "{{ $labels.job }}: connections are refused",
			Description: "{{ $value | humanize }} connections were refused within five minutes: as many clients are connected as may be.",
		},
	}}
}
