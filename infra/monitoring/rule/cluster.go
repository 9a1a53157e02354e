package rule

import (
	"fmt"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// workloads are the alerts on pods and their Deployments, StatefulSets, DaemonSets and Jobs.
func workloads(ours string) Group {
	short := func(of func(expr, label string) string, missing, label string) Alert {
		return Alert{
			Name: "ReplicasShort", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        of(strings.ReplaceAll(missing, "ours", ours)+" > 0", label),
			Labels:      map[string]string{"kind": label},
			Summary:     "{{ $labels.job }}: {{ $value }} replicas are missing",
			Description: "{{ $labels." + label + " }} in {{ $labels.namespace }} has lacked {{ $value }} replicas for ten minutes. It has less spare capacity than configured.",
		}
	}
	return Group{Name: "workloads", Alerts: []Alert{
		{Name: "PodCrashLooping", Severity: catalog.Ticket, KeepFiring: 5 * time.Minute,
			Expr: ofPod(fmt.Sprintf(`sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{%s}[15m])) > 2.5`, ours), ours) + "\nor " +
				ofPod(fmt.Sprintf(`max by (namespace, pod, container) (max_over_time(kube_pod_container_status_waiting_reason{%s, reason="CrashLoopBackOff"}[5m])) > 0`, ours), ours),
			Summary:     "{{ $labels.job }}: {{ $labels.pod }} is crash looping",
			Description: "Container {{ $labels.container }} of {{ $labels.pod }} in {{ $labels.namespace }} exits soon after each start."},
		{Name: "PodOutOfMemory", Severity: catalog.Ticket, KeepFiring: 15 * time.Minute,
			Expr: ofPod(fmt.Sprintf(`max by (namespace, pod, container) (kube_pod_container_status_last_terminated_reason{%s, reason="OOMKilled"}) == 1
  and on (namespace, pod, container) sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{%s}[15m])) > 0
or sum by (namespace, pod, container) (increase(container_oom_events_total{%[1]s, container!=""}[15m])) > 0`, ours, ours), ours),
			Summary:     "{{ $labels.job }}: {{ $labels.pod }} ran out of memory",
			Description: "Container {{ $labels.container }} of {{ $labels.pod }} in {{ $labels.namespace }} exceeded its memory limit and was killed. Its requests in flight are lost."},
		short(ofWorkload, "kube_deployment_spec_replicas{ours} - kube_deployment_status_replicas_available{ours}", "deployment"),
		short(ofWorkload, "kube_statefulset_replicas{ours} - kube_statefulset_status_replicas_ready{ours}", "statefulset"),
		short(ofWorkload, "kube_daemonset_status_desired_number_scheduled{ours} - kube_daemonset_status_number_ready{ours}", "daemonset"),
		short(ofInstance, `1 - max without (condition) (kube_pod_status_ready{ours, condition="true", pod=~"postgres-[0-9]+-[0-9]+"})`, "pod"), // of the operator
		{Name: "AutoscalerAtLimit", For: 15 * time.Minute, Severity: catalog.Ticket,
			Expr: ofWorkload(strings.ReplaceAll(`kube_horizontalpodautoscaler_status_desired_replicas{ours} >= kube_horizontalpodautoscaler_spec_max_replicas{ours}
  and kube_horizontalpodautoscaler_spec_max_replicas{ours} > kube_horizontalpodautoscaler_spec_min_replicas{ours}`, "ours", ours), "horizontalpodautoscaler"),
			Summary:     "{{ $labels.job }}: the autoscaler is at its maximum",
			Description: "{{ $labels.horizontalpodautoscaler }} has requested {{ $value }} replicas, its maximum, for 15 minutes. More load makes the service slower."},
		{Name: "AutoscalerInactive", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr: ofWorkload(fmt.Sprintf(`max by (namespace, horizontalpodautoscaler) (kube_horizontalpodautoscaler_status_condition{%s, condition="ScalingActive", status="false"}) == 1
  and on (namespace, horizontalpodautoscaler) kube_horizontalpodautoscaler_status_current_replicas{%[1]s} > 0`, ours), "horizontalpodautoscaler"),
			Summary:     "{{ $labels.job }}: the autoscaler doesn't scale",
			Description: "{{ $labels.horizontalpodautoscaler }} gets no metrics of its pods, so it doesn't react to load."},
		{Name: "JobFailed", Severity: catalog.Ticket,
			Expr:        fmt.Sprintf(`label_replace(kube_job_failed{%s, condition="true"} == 1, "job", "$1", "job_name", "(.+)")`, ours),
			Summary:     "{{ $labels.job_name }}: the Job has failed",
			Description: "Job {{ $labels.job_name }} in {{ $labels.namespace }} has failed and has no retries left. A migration or the users of a store may be incomplete."},
	}}
}

// nodes are the alerts on nodes.
func nodes() Group {
	// The metrics of nodes come from several jobs. The alerts have a common one.
	const job = `, "job", "node", "", "")`
	return Group{Name: "nodes", Alerts: []Alert{
		{Name: "NodeNotReady", For: time.Minute, Severity: catalog.Page,
			// A dead controller manager doesn't report it. A node that is drained is cordoned first. A new node has ten minutes to start.
			Expr: `label_replace((max by (node) (kube_node_status_condition{condition="Ready", status="true"}) == 0
  or max by (node) (up{job=~"kubelet|node-exporter", node!=""}) == 0)
  unless on (node) (max by (node) (kube_node_spec_unschedulable) == 1 or time() - max by (node) (kube_node_created) < 600)` + job,
			Summary:     "{{ $labels.node }}: the node isn't ready",
			Description: "{{ $labels.node }} hasn't been ready, or hasn't responded to Prometheus, for a minute. Kubernetes evicts its pods after five minutes."},
		{Name: "NodePressure", For: 2 * time.Minute, Severity: catalog.Ticket,
			Expr:        `label_replace(max by (node, condition) (kube_node_status_condition{condition=~".+Pressure", status="true"}) == 1` + job,
			Summary:     "{{ $labels.node }}: {{ $labels.condition }}",
			Description: "{{ $labels.node }} reports {{ $labels.condition }}: it evicts pods, beginning with the lowest priority, and accepts no new ones."},
		{Name: "NodeMemoryLow", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        `label_replace(max by (node) (node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes) < 0.07` + job,
			Summary:     "{{ $labels.node }}: little memory is available",
			Description: "{{ $value | humanizePercentage }} of the memory of {{ $labels.node }} is available. The kernel may soon kill processes."},
		{Name: "NodeDiskFilling", For: 30 * time.Minute, Severity: catalog.Ticket,
			Expr: `label_replace(min by (node, device) (` + diskBytes + ` / node_filesystem_size_bytes) < 0.3
  and on (node, device) ` + fills(diskBytes, "node, device") + job,
			Summary:     "{{ $labels.node }}: the disk will be full within a day",
			Description: "{{ $value | humanizePercentage }} of {{ $labels.device }} of {{ $labels.node }} is free. At the rate of the last six hours it will be full within a day; pods are then evicted and images can't be pulled."},
		{Name: "NodeDiskFull", For: 2 * time.Minute, Severity: catalog.Page,
			Expr: `label_replace((min by (node, device) (` + diskBytes + ` / node_filesystem_size_bytes) < 0.05
  or min by (node, device) (node_filesystem_files_free{fstype!~"tmpfs|ramfs"} / node_filesystem_files) < 0.05)` + job,
			Summary:     "{{ $labels.node }}: the disk is full",
			Description: "{{ $value | humanizePercentage }} of the bytes or inodes of {{ $labels.device }} of {{ $labels.node }} is free. Stores on it can't write, and Kubernetes evicts pods."},
		{Name: "NodeClockSkew", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        `label_replace(max by (node) (abs(node_time_seconds - timestamp(node_time_seconds))) > 2` + job,
			Summary:     "{{ $labels.node }}: the clock is wrong",
			Description: "The clock of {{ $labels.node }} differs from that of Prometheus by {{ $value | humanizeDuration }}. Tokens and certificates may be refused."},
	}}
}

// diskBytes are the free bytes of disks.
const diskBytes = `node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs"}`

// fills matches disks and volumes that will be full within a day, both at the rate of the last six hours and at that of the last hour: a
// burst that has ended, such as an installation, isn't a trend. It needs six hours of history.
func fills(free, by string) string {
	return fmt.Sprintf(`(min by (%[2]s) (predict_linear(%[1]s[6h], 24 * 3600)) < 0
  and on (%[2]s) min by (%[2]s) (predict_linear(%[1]s[1h], 24 * 3600)) < 0
  and on (%[2]s) min by (%[2]s) (%[1]s offset 6h))`, free, by)
}

// storage are the alerts on volumes. A volume as large as its node's disk is on that disk, whose alerts suffice.
func storage(ours string) Group {
	const claim = "job, namespace, persistentvolumeclaim"
	bytes := fmt.Sprintf(`kubelet_volume_stats_available_bytes{%s}`, ours)
	free := fmt.Sprintf(`min by (%s) (%s / (kubelet_volume_stats_capacity_bytes
  unless kubelet_volume_stats_capacity_bytes == on (node) group_left () max by (node) (node_filesystem_size_bytes{mountpoint="/node"})))`, claim, bytes)
	return Group{Name: "storage", Alerts: []Alert{
		{Name: "VolumeFilling", For: 30 * time.Minute, Severity: catalog.Ticket,
			Expr:        ofInstance(free+` < 0.4 and on (`+claim+`) `+fills(bytes, claim), "persistentvolumeclaim"),
			Summary:     "{{ $labels.job }}: volume {{ $labels.persistentvolumeclaim }} will be full within a day",
			Description: "{{ $value | humanizePercentage }} of {{ $labels.persistentvolumeclaim }} in {{ $labels.namespace }} is free. At the rate of the last six hours it will be full within a day."},
		{Name: "VolumeFull", For: time.Minute, Severity: catalog.Page,
			Expr:        ofInstance(free+` < 0.05`, "persistentvolumeclaim"),
			Summary:     "{{ $labels.job }}: volume {{ $labels.persistentvolumeclaim }} is full",
			Description: "{{ $value | humanizePercentage }} of {{ $labels.persistentvolumeclaim }} in {{ $labels.namespace }} is free. Its server will soon be unable to write."},
	}}
}

const (
	day = 24 * time.Hour

	// certificateTicket is less than the 30 days before expiry at which a certificate of 90 days is renewed, so that an automatic
	// renewal raises no alert. certificatePage is too short to wait for the end of a weekend.
	certificateTicket = 21 * day
	certificatePage   = 3 * day
)

// certificates are the alerts on certificates that expire. Traefik has a metric of its certificate. The stores have none, but each time
// the CronJob that renews certificates succeeds, each of them is valid for at least another third of its duration.
func certificates(ours string, authority time.Time, duration time.Duration) Group {
	const expires, authorityJob = "job:certificate_not_after:timestamp_seconds", "certificate-authority"
	renewal := duration / 3
	cronJob := fmt.Sprintf(`{%s, cronjob="%s"}`, ours, network.Certificates)
	group := Group{Name: "certificates", Records: []Record{{
		// Traefik keeps the metric of a replaced certificate. Its default certificate isn't used.
		Name: expires, Expr: fmt.Sprintf(
			`min by (job) (max by (job, pod, cn, sans) (traefik_tls_certs_not_after{job="%s", cn!="TRAEFIK DEFAULT CERT"}))`, network.Edge),
	}, {
		Name: expires, Labels: map[string]string{"job": network.Certificates},
		Expr: fmt.Sprintf(`max(kube_cronjob_status_last_successful_time%s or kube_cronjob_created%[1]s) + %d`, cronJob, int(renewal.Seconds())),
	}}}
	if !authority.IsZero() {
		group.Records = append(group.Records, Record{
			Name: expires, Expr: fmt.Sprintf("vector(%d)", authority.Unix()), Labels: map[string]string{"job": authorityJob},
		})
	}
	for _, at := range []struct {
		severity         catalog.Severity
		authority, other time.Duration // remaining
	}{
		{catalog.Page, certificatePage, min(certificatePage, renewal/10)},
		{catalog.Ticket, certificateTicket, min(certificateTicket, renewal*7/10)},
	} {
		group.Alerts = append(group.Alerts, Alert{
			Name: "CertificateEnds", For: 5 * time.Minute, Severity: at.severity,
			Expr: fmt.Sprintf(`%[1]s{job="%[2]s"} - time() < %[3]d or %[1]s{job!="%[2]s"} - time() < %[4]d`,
				expires, authorityJob, int(at.authority.Seconds()), int(at.other.Seconds())),
			Summary:     "{{ $labels.job }}: the certificate expires soon",
			Description: "The certificate of {{ $labels.job }} expires in {{ $value | humanizeDuration }}. Clients that verify it can't connect after that.",
		})
	}
	return group
}

// stores are the alerts on Postgres and Redis.
func stores(ours string, replicated, backed bool) Group {
	const volumes = `persistentvolumeclaim=~"postgres-[0-9]+-[0-9]+"`
	const lastBackup = "max by (job) (cnpg_collector_last_available_backup_timestamp)"
	redisDown := func(store string, severity catalog.Severity, means string) Alert {
		return Alert{
			Name: "RedisDown", For: 30 * time.Second, KeepFiring: time.Minute, Severity: severity,
			Expr:        ofStore(fmt.Sprintf(`min by (job) (redis_up{job="%s%s"}) == 0`, store, network.Exporter)),
			Summary:     "{{ $labels.job }}: Redis doesn't respond",
			Description: "{{ $labels.job }} doesn't respond to its exporter. " + means,
		}
	}
	streamDown := redisDown(network.Stream, catalog.Page, "No events are published or handled: orders are accepted and wait in the outbox, and users get no notifications.")
	var replicas []Alert
	if replicated {
		const job = `job="` + network.Stream + network.Exporter + `"`
		const ofPrimary = `(redis_connected_slaves{` + job + `} and on (instance) redis_instance_info{` + job + `, role="master"})`
		streamDown.Expr = ofStore(`max by (job) (redis_up{` + job + `}) unless on (job) ` + ofPrimary + ` > 0`)
		streamDown.Summary = "{{ $labels.job }}: no Redis is the primary and has a replica"
		replicas = []Alert{{Name: "ReplicaDown", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        ofStore(`max by (job) ` + ofPrimary + ` < 2`),
			Summary:     "{{ $labels.job }}: a replica is missing",
			Description: "The primary of {{ $labels.job }} has {{ $value }} of 2 replicas. If it loses the other one, it refuses events, which then wait in the outbox."}}
	}
	memory := func(severity catalog.Severity, share float64, wait time.Duration) Alert {
		return Alert{
			Name: "StreamMemory", For: wait, Severity: severity,
			Expr: ofStore(fmt.Sprintf(`max by (job) (redis_memory_used_bytes{job="%s%s"} / (redis_memory_max_bytes > 0)) > %g`,
				network.Stream, network.Exporter, share)),
			Summary:     "{{ $labels.job }}: the memory for events is nearly full",
			Description: "{{ $value | humanizePercentage }} of the memory of {{ $labels.job }} is used. When it is full, Redis refuses new events, which then wait in the outbox.",
		}
	}
	return Group{Name: "stores", Interval: outageInterval, Alerts: append([]Alert{
		{Name: "PostgresDown", For: seenTwice, KeepFiring: outlives, Severity: catalog.Page,
			// The exporter waits without a limit for a server that hangs, so that its own scrape fails. More than three requests fail in five minutes.
			Expr: ofStore(`min by (job) (pg_up) == 0
or (min by (job) (up{job="` + network.Postgres + network.Exporter + `"} == 0 and on (namespace, pod) kube_pod_status_ready{` + ours + `, condition="true"} == 1)
  and on () sum(job:errors:rate5m) > 0.01)`),
			Summary:     "postgres: the database doesn't respond",
			Description: "The exporter can't connect to Postgres, or gets no response while requests fail. Requests that read or write users, orders or notifications get 503."},
		{Name: "PostgresConnections", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr: ofStore(`sum by (job, usename) (pg_stat_activity_count{backend_type="client backend"})
  / on (job, usename) max by (job, usename) (label_replace(pg_roles_connection_limit > 0, "usename", "$1", "rolname", "(.+)")) > 0.8`),
			Labels:      map[string]string{"limit": "role"},
			Summary:     "postgres: role {{ $labels.usename }} is near its connection limit",
			Description: "Role {{ $labels.usename }} uses {{ $value | humanizePercentage }} of its connection limit. At the limit, new replicas of its service can't connect."},
		{Name: "PostgresConnections", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        ofStore(`sum by (job) (pg_stat_activity_count{backend_type="client backend"}) / on (job) max by (job) (pg_settings_max_connections) > 0.8`),
			Labels:      map[string]string{"limit": "server"},
			Summary:     "postgres: the server is near max_connections",
			Description: "{{ $value | humanizePercentage }} of the server's connections are in use. At the maximum, services wait for a connection and time out."},
		{Name: "PostgresConnections", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        `max by (job) (cnpg_pgbouncer_pools_maxwait) > 1`,
			Labels:      map[string]string{"limit": "pooler"},
			Summary:     "postgres: clients of the pooler wait for a connection",
			Description: "A client has waited for {{ $value | humanizeDuration }}: all connections of the pooler to its database are in use."},
		{Name: "PostgresDeadlocks", Severity: catalog.Ticket, KeepFiring: 10 * time.Minute,
			Expr:        ofStore(`sum by (job, datname) (increase(pg_stat_database_deadlocks[10m])) > 0`),
			Summary:     "postgres: deadlocks in database {{ $labels.datname }}",
			Description: "Postgres aborted {{ $value | humanize }} transactions of {{ $labels.datname }} within ten minutes, because they waited for each other."},
		{Name: "PostgresTransactionOld", For: time.Minute, Severity: catalog.Ticket,
			Expr:        ofStore(`max by (job) (pg_long_running_transactions_oldest_timestamp_seconds) > 900`), // an age, despite its name
			Summary:     "postgres: a transaction doesn't end",
			Description: "A transaction has run for {{ $value | humanizeDuration }}. Its locks block others, and Postgres can't remove old rows meanwhile."},
		{Name: "PostgresWraparound", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        ofStore(`max by (job, datname) (pg_database_wraparound_age_datfrozenxid_seconds) > 1e9`), // a number of transactions, too
			Summary:     "postgres: database {{ $labels.datname }} isn't vacuumed",
			Description: "The oldest transaction of {{ $labels.datname }} is {{ $value | humanize }} transactions old. At two billion, Postgres refuses to write."},
		{Name: "ArchiveLagging", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        `max by (job) (cnpg_collector_pg_wal_archive_status{value="ready"}) > 2`,
			Summary:     "postgres: the archive lags",
			Description: "{{ $value | humanize }} files of the write-ahead log wait for the archive. If the volume is lost now, so are the changes in them."},
		{Name: "BackupOld", For: 15 * time.Minute, Severity: catalog.Ticket,
			Expr: `time() - (` + lastBackup + ` > 0) > 26 * 3600 or time() - (max by (job) (cnpg_collector_last_failed_backup_timestamp) > ` + lastBackup + `) > 0` +
				map[bool]string{true: "\nor label_replace(time() - max(kube_persistentvolumeclaim_created{" + ours + ", " + volumes + `}) > 26 * 3600, "job", "postgres", "", "") and on (job) ` + lastBackup + " == 0"}[backed],
			Summary:     "postgres: no backup since yesterday",
			Description: "The last complete backup ended more than a day ago, or one failed after it, or none has ended since the first volume: {{ $value | humanizeDuration }} ago. A restore takes longer, or isn't possible."},
		{Name: "BackupUntested", For: time.Hour, Severity: catalog.Ticket,
			Expr: `label_replace(time() - (max(kube_configmap_created{` + ours + `, configmap="restore-drill"})
  or min(kube_persistentvolumeclaim_created{` + ours + `, ` + volumes + `})) > 35 * 24 * 3600, "job", "postgres", "", "")`,
			Summary:     "postgres: no backup was restored for five weeks",
			Description: "The last drill, or the first volume if there was no drill, is {{ $value | humanizeDuration }} old. A backup that nobody restores may not be restorable."},
		streamDown,
		redisDown(network.Cache, catalog.Ticket, "Services work without it: they read users from Postgres, and each replica of the gateway counts requests separately."),
		memory(catalog.Page, 0.95, 2*time.Minute),
		memory(catalog.Ticket, 0.8, 10*time.Minute),
		{Name: "StreamNotPersisting", For: time.Minute, Severity: catalog.Page,
			Expr: ofStore(fmt.Sprintf(`min by (job) (redis_aof_last_write_status{job="%s%s"}) == 0
  or min by (job) (redis_aof_last_bgrewrite_status{job="%[1]s%[2]s"}) == 0
  or min by (job) (redis_aof_enabled{job="%[1]s%[2]s"}) == 0`, network.Stream, network.Exporter)),
			Summary:     "{{ $labels.job }}: events aren't written to disk",
			Description: "{{ $labels.job }} has no append-only file, or can't write or rewrite it. Redis loses events when it ends, or refuses them until it can write."},
		{Name: "RedisRejectsConnections", Severity: catalog.Ticket,
			Expr:        ofStore(`sum by (job) (increase(redis_rejected_connections_total[1h])) > 0`), // the exporter, refused too, reads it later
			Summary:     "{{ $labels.job }}: connections are refused",
			Description: "{{ $value | humanize }} connections were refused within an hour, because the maximum number of clients is connected."},
	}, replicas...)}
}
