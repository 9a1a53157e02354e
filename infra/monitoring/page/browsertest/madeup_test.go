package browsertest

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	madeUpFor = 100 * time.Minute // before now
	madeUpTo  = 10 * time.Minute  // after now, for tests that take their time
	scrape    = 15 * time.Second
)

// platform generates the series of a fictitious platform over the last two hours. Order-service had errors for 15 minutes, and
// user-service switched from blue to green half an hour ago.
type platform struct {
	now     time.Time
	moments []time.Time
	out     *bufio.Writer
	err     error
}

// write writes all series as OpenMetrics, from which promtool creates blocks.
func write(out io.Writer, now time.Time) error {
	p := &platform{now: now, out: bufio.NewWriter(out)}
	for at := now.Add(-madeUpFor).Truncate(scrape); at.Before(now.Add(madeUpTo)); at = at.Add(scrape) {
		p.moments = append(p.moments, at)
	}
	p.services()
	p.recorded()
	p.cluster()
	p.stores()
	p.rest()
	_, err := p.out.WriteString("# EOF\n")
	return firstOf(p.err, err, p.out.Flush())
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// over writes a series. NaN means no sample.
func (p *platform) over(series string, value func(minutes float64) float64) {
	for _, at := range p.moments {
		v := value(at.Sub(p.now).Minutes())
		if math.IsNaN(v) {
			continue
		}
		if _, err := fmt.Fprintf(p.out, "%s %g %d\n", series, v, at.Unix()); err != nil {
			p.err = err
		}
	}
}

// constant writes a series that doesn't change.
func (p *platform) constant(series string, value float64) {
	p.over(series, func(float64) float64 { return value })
}

// counter writes a counter that rises by rate per second, as a function of the minutes before now.
func (p *platform) counter(series string, rate func(minutes float64) float64) {
	sum := 0.0
	p.over(series, func(minutes float64) float64 {
		sum += rate(minutes) * scrape.Seconds()
		return math.Round(sum*1000) / 1000
	})
}

func steady(rate float64) func(float64) float64 { return func(float64) float64 { return rate } }

// wave is a rate with some variation.
func wave(rate, phase float64) func(float64) float64 {
	return func(minutes float64) float64 {
		return rate * (1 + .25*math.Sin(minutes/9+phase) + .08*math.Sin(minutes*1.7+2*phase))
	}
}

func during(from, to float64, rate func(float64) float64) func(float64) float64 {
	return func(minutes float64) float64 {
		if minutes < from || minutes >= to {
			return 0
		}
		return rate(minutes)
	}
}

const (
	switched  = -30.0 // minutes: user-service went from blue to green
	troubled  = -50.0
	recovered = -35.0
)

var names = []string{"api-gateway", "user-service", "order-service", "notification-service"}

var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// histogram writes a histogram of requests that take around middle seconds.
func (p *platform) histogram(name, labels string, rate func(float64) float64, middle func(float64) float64) {
	for _, bound := range append(slices.Clone(buckets), math.Inf(1)) {
		le := fmt.Sprint(bound)
		if math.IsInf(bound, 1) {
			le = "+Inf"
		}
		p.counter(fmt.Sprintf(`%s_bucket{%s,le=%q}`, name, labels, le), func(minutes float64) float64 {
			share := 1.0
			if !math.IsInf(bound, 1) {
				share = 1 / (1 + math.Exp(-2.2*math.Log(bound/middle(minutes))))
			}
			return rate(minutes) * share
		})
	}
	p.counter(fmt.Sprintf(`%s_count{%s}`, name, labels), rate)
}

// replicas are the pods of a service: two in the live colour and one in the standby colour.
func replicas(service string) []replica {
	all := []replica{{service, "blue", service + "-blue-5c9d-x7k2p", "1.4.0"}, {service, "blue", service + "-blue-5c9d-m4wqz", "1.4.0"}}
	if service == "user-service" {
		all = append(all, replica{service, "green", service + "-green-7f6b-9hj4d", "1.5.0"}, replica{service, "green", service + "-green-7f6b-2vvtc", "1.5.0"})
	}
	return all
}

type replica struct{ service, colour, pod, version string }

func (r replica) labels() string {
	return fmt.Sprintf(`job=%q,namespace="apps",pod=%q,colour=%q,instance=%q`, r.service, r.pod, r.colour, r.pod+":9090")
}

// takes reports when a replica gets requests.
func (r replica) takes(rate func(float64) float64) func(float64) float64 {
	if r.service != "user-service" {
		return rate
	}
	if r.colour == "blue" {
		return during(-1000, switched, rate)
	}
	return during(switched, 1000, rate)
}

func (p *platform) services() {
	for n, service := range names {
		middle := wave(.012+.01*float64(n), float64(n))
		if service == "order-service" {
			calm := middle
			middle = func(minutes float64) float64 { return calm(minutes) + during(troubled, recovered, steady(.2))(minutes) }
		}
		for i, r := range replicas(service) {
			l := r.labels()
			rate := r.takes(wave(20-3*float64(n), float64(n+i)))
			failing := r.takes(steady(.004))
			if service == "order-service" {
				failing = func(minutes float64) float64 { return .004 + during(troubled, recovered, steady(.4))(minutes) }
			}
			p.constant(fmt.Sprintf(`service_info{%s,exported_colour=%q,service=%q,version=%q}`, l, r.colour, service, r.version), 1)
			if service != "api-gateway" {
				p.over(`service_live{`+l+`}`, func(minutes float64) float64 {
					if r.takes(steady(1))(minutes) > 0 {
						return 1
					}
					return 0
				})
			}
			p.over(`go_goroutines{`+l+`}`, wave(90, float64(i)))
			p.over(`process_open_fds{`+l+`}`, wave(40, float64(i)))
			p.constant(`process_max_fds{`+l+`}`, 65536)
			p.constant(`up{`+l+`}`, 1)
			if service == "api-gateway" {
				p.gateway(l, rate)
			} else {
				p.behind(service, l, rate, failing, middle)
			}
			if service != "order-service" {
				p.redis(l, []string{"get", "set"}, rate)
			} else {
				p.redis(l, []string{"xadd"}, rate)
			}
		}
	}
}

func (p *platform) gateway(l string, rate func(float64) float64) {
	for i, callee := range names {
		part := func(minutes float64) float64 { return rate(minutes) / float64(i+2) }
		p.counter(fmt.Sprintf(`gateway_requests_total{%s,service=%q,method="GET"}`, l, callee), part)
		p.histogram("gateway_request_duration_seconds", fmt.Sprintf(`%s,service=%q`, l, callee), part, wave(.02+.01*float64(i), float64(i)))
		if i == 0 {
			continue
		}
		state := steady(0)
		if callee == "order-service" {
			state = func(minutes float64) float64 {
				return 2*during(-48, -40, steady(1))(minutes) + during(-40, -38, steady(1))(minutes)
			}
			p.counter(fmt.Sprintf(`gateway_service_errors_total{%s,service=%q}`, l, callee), during(troubled, recovered, steady(.5)))
		}
		p.over(fmt.Sprintf(`gateway_breaker_state{%s,service=%q}`, l, callee), state)
		p.over(fmt.Sprintf(`gateway_in_flight_requests{%s,service=%q}`, l, callee), wave(6, float64(i)))
		p.counter(fmt.Sprintf(`gateway_retries_total{%s,service=%q}`, l, callee), steady(.01))
		for _, reason := range []string{"breaker", "bulkhead"} {
			p.counter(fmt.Sprintf(`gateway_rejections_total{%s,service=%q,reason=%q}`, l, callee, reason), during(-48, -40, steady(.3)))
		}
	}
	p.counter(`gateway_rate_limited_total{`+l+`,limit="requests"}`, steady(.01))
}

func (p *platform) behind(service, l string, rate, failing, middle func(float64) float64) {
	prefix := strings.ReplaceAll(service, "-", "_")
	for i, endpoint := range []string{"/api/things/{id}", "/api/things", "/health"} {
		with := fmt.Sprintf(`%s,method=%q,endpoint=%q`, l, []string{"GET", "POST", "GET"}[i], endpoint)
		part := func(minutes float64) float64 { return rate(minutes) / float64(i+2) }
		p.counter(prefix+`_requests_total{`+with+`}`, part)
		p.histogram(prefix+"_request_duration_seconds", with, part, middle)
		if i == 0 {
			p.counter(prefix+`_errors_total{`+with+`}`, failing)
		}
	}
	p.over(`postgres_pool_acquired_connections{`+l+`}`, func(minutes float64) float64 { return math.Round(wave(2, middle(0))(minutes)) })
	p.counter(`postgres_pool_acquire_wait_seconds_total{`+l+`}`, steady(.002))
	p.counter(`postgres_pool_canceled_acquires_total{`+l+`}`, steady(0))
	publishes := func() {
		p.counter(fmt.Sprintf(`%s_events_published_total{%s,type="thing.created"}`, prefix, l), wave(2, 1))
		p.over(fmt.Sprintf(`%s_outbox_unpublished{%s}`, prefix, l), during(troubled, recovered, steady(140)))
	}
	consumes := func() {
		for outcome, rate := range map[string]func(float64) float64{"handled": wave(2, 1), "duplicate": steady(.05)} {
			p.counter(fmt.Sprintf(`%s_events_handled_total{%s,consumer=%q,type="thing.created",outcome=%q}`, prefix, l, service, outcome), rate)
		}
		p.over(fmt.Sprintf(`%s_stream_lag{%s,consumer=%q}`, prefix, l, service), during(troubled, recovered, wave(60, 0)))
		p.over(fmt.Sprintf(`%s_stream_pending{%s,consumer=%q}`, prefix, l, service), wave(3, 0))
		p.constant(fmt.Sprintf(`%s_dead_letters{%s}`, prefix, l), 0)
	}
	switch service {
	case "user-service":
		publishes()
		p.counter(`user_service_cache_hits_total{`+l+`}`, rate)
		p.counter(`user_service_cache_misses_total{`+l+`}`, func(minutes float64) float64 { return rate(minutes) / 9 })
		p.counter(`user_service_cache_spared_total{`+l+`}`, steady(0))
	case "order-service":
		publishes()
		consumes()
	case "notification-service":
		consumes()
	}
}

func (p *platform) redis(l string, commands []string, rate func(float64) float64) {
	for _, command := range commands {
		p.histogram("redis_command_duration_seconds", fmt.Sprintf(`%s,command=%q`, l, command), rate, wave(.0006, 1))
	}
	p.constant(`redis_pool_timeouts{`+l+`}`, 0)
	p.constant(`redis_pool_connections{`+l+`}`, 6)
	p.constant(`redis_pool_idle_connections{`+l+`}`, 4)
}

// recorded writes the series of the recording rules.
func (p *platform) recorded() {
	for n, service := range names {
		job := fmt.Sprintf(`job=%q`, service)
		failing := steady(.0002)
		if service == "order-service" {
			failing = func(minutes float64) float64 { return .0002 + during(troubled, recovered, steady(.02))(minutes) }
		}
		p.over(`job:requests:rate5m{`+job+`}`, wave(30-5*float64(n), float64(n)))
		seen := map[string]bool{}
		for _, r := range replicas(service) {
			if seen[r.colour] {
				continue
			}
			seen[r.colour] = true
			p.over(fmt.Sprintf(`job_colour:requests:rate5m{%s,colour=%q}`, job, r.colour), r.takes(wave(30-5*float64(n), float64(n))))
			p.over(fmt.Sprintf(`job_colour:errors:ratio_rate5m{%s,colour=%q}`, job, r.colour), failing)
		}
		for _, window := range []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"} {
			slow := .004
			if window == "30d" {
				p.constant(`job:errors:ratio_rate30d{`+job+`}`, []float64{.0002, .0003, .00094, .001}[n])
			} else {
				p.over(`job:errors:ratio_rate`+window+`{`+job+`}`, failing)
			}
			p.constant(`job:slow:ratio_rate`+window+`{`+job+`}`, slow)
		}
		p.constant(`job:objective:availability{`+job+`}`, []float64{.999, .999, .999, .995}[n])
		p.constant(`job:objective:latency_share{`+job+`}`, .99)
		p.constant(`job:error_budget:remaining{`+job+`}`, []float64{.8, .7, .06, .8}[n])
		p.constant(`job:latency_budget:remaining{`+job+`}`, .6)
	}
}

// cluster writes the series of kube-state-metrics, cadvisor and the kubelet.
func (p *platform) cluster() {
	const kube = `job="kube-state-metrics"`
	container := func(namespace, pod, name string, cores, bytes, wantsCores, wantsBytes float64) {
		labels := fmt.Sprintf(`namespace=%q,pod=%q,container=%q`, namespace, pod, name)
		p.counter(`container_cpu_usage_seconds_total{job="cadvisor",cpu="total",`+labels+`}`, wave(cores, bytes))
		p.over(`container_memory_working_set_bytes{job="cadvisor",`+labels+`}`, wave(bytes, cores))
		p.counter(`container_cpu_cfs_periods_total{job="cadvisor",`+labels+`}`, steady(9))
		p.counter(`container_cpu_cfs_throttled_periods_total{job="cadvisor",`+labels+`}`, during(troubled, recovered, steady(2)))
		for resource, amounts := range map[string][2]float64{"cpu": {wantsCores, 10 * wantsCores}, "memory": {wantsBytes, wantsBytes}} {
			p.constant(fmt.Sprintf(`kube_pod_container_resource_requests{%s,%s,resource=%q}`, kube, labels, resource), amounts[0])
			p.constant(fmt.Sprintf(`kube_pod_container_resource_limits{%s,%s,resource=%q}`, kube, labels, resource), amounts[1])
		}
		p.constant(`kube_pod_container_status_restarts_total{`+kube+`,`+labels+`}`, 0)
	}
	for n, service := range names {
		deployments := map[string]int{}
		for i, r := range replicas(service) {
			deployments[r.colour]++
			p.constant(fmt.Sprintf(`kube_pod_labels{%s,namespace="apps",pod=%q,label_app_kubernetes_io_name=%q,label_colour=%q}`, kube, r.pod, service, r.colour), 1)
			container("apps", r.pod, service, .03+.01*float64(n+i), float64(40+10*n)*(1<<20), .1, 128*(1<<20))
		}
		for colour, count := range deployments {
			deployment := fmt.Sprintf(`%s,namespace="apps",deployment=%q`, kube, service+"-"+colour)
			p.constant(fmt.Sprintf(`kube_deployment_labels{%s,label_app_kubernetes_io_name=%q,label_colour=%q}`, deployment, service, colour), 1)
			p.constant(`kube_deployment_spec_replicas{`+deployment+`}`, float64(count))
			p.constant(`kube_deployment_status_replicas_available{`+deployment+`}`, float64(count))
			scaler := fmt.Sprintf(`%s,namespace="apps",horizontalpodautoscaler=%q`, kube, service+"-"+colour)
			p.constant(`kube_horizontalpodautoscaler_spec_min_replicas{`+scaler+`}`, 2)
			p.constant(`kube_horizontalpodautoscaler_spec_max_replicas{`+scaler+`}`, 6)
		}
	}
	container("data", "postgres-1-1", "postgres", .2, 400*(1<<20), .25, 1<<30)
	container("data", "redis-stream-0", "redis", .02, 30*(1<<20), .1, 256*(1<<20))
	container("edge", "edge-6d9f-pq8rs", "traefik", .05, 60*(1<<20), .1, 128*(1<<20))
	container("monitoring", "prometheus-0", "prometheus", .1, 500*(1<<20), .2, 1<<30)
	for resource, amount := range map[string]float64{"cpu": 2, "memory": 8 * (1 << 30)} {
		p.constant(fmt.Sprintf(`kube_node_status_allocatable{%s,node="local",resource=%q}`, kube, resource), amount)
	}
	for _, claim := range []string{"postgres-1-1", "data-redis-stream-0"} {
		labels := fmt.Sprintf(`namespace="data",persistentvolumeclaim=%q`, claim)
		p.constant(`kube_persistentvolumeclaim_resource_requests_storage_bytes{`+kube+`,`+labels+`}`, 10*(1<<30))
		p.constant(`kubelet_volume_stats_used_bytes{job="kubelet",`+labels+`}`, 3*(1<<30))
		p.constant(`kubelet_volume_stats_capacity_bytes{job="kubelet",`+labels+`}`, 10*(1<<30))
	}
	const node = `job="node-exporter",instance="10.0.0.1:9100",node="local"`
	for core := range 2 {
		p.counter(fmt.Sprintf(`node_cpu_seconds_total{%s,cpu="%d",mode="idle"}`, node, core), wave(.6, float64(core)))
	}
	p.constant(`node_memory_MemTotal_bytes{`+node+`}`, 8*(1<<30))
	p.over(`node_memory_MemAvailable_bytes{`+node+`}`, wave(3*(1<<30), 0))
	p.constant(`node_filesystem_avail_bytes{`+node+`,device="/dev/vda",fstype="ext4",mountpoint="/node"}`, 12*(1<<30))
	p.constant(`node_filesystem_size_bytes{`+node+`,device="/dev/vda",fstype="ext4",mountpoint="/node"}`, 100*(1<<30))
}

func (p *platform) stores() {
	const postgres = `job="postgres-exporter"`
	p.constant(`pg_up{`+postgres+`}`, 1)
	p.constant(`pg_settings_max_connections{`+postgres+`}`, 120)
	for n, database := range []string{"users", "orders", "notifications"} {
		l := fmt.Sprintf(`%s,datname=%q`, postgres, database)
		p.over(`pg_stat_activity_count{`+l+`,state="active"}`, func(minutes float64) float64 { return math.Round(wave(4, float64(n))(minutes)) })
		p.over(`pg_stat_activity_max_tx_duration{`+l+`,state="active"}`, wave(.02, float64(n)))
		p.counter(`pg_stat_database_xact_commit{`+l+`}`, wave(30, float64(n)))
		p.counter(`pg_stat_database_xact_rollback{`+l+`}`, steady(.1))
		p.counter(`pg_stat_database_blks_hit{`+l+`}`, wave(900, float64(n)))
		p.counter(`pg_stat_database_blks_read{`+l+`}`, wave(6, float64(n)))
		p.counter(`pg_stat_database_deadlocks{`+l+`}`, steady(0))
		p.counter(`pg_stat_database_temp_bytes{`+l+`}`, steady(0))
		p.over(`pg_database_size_bytes{`+l+`}`, func(minutes float64) float64 { return float64(20+10*n)*(1<<20) + 2000*(minutes+200) })
		p.over(`pg_locks_count{`+l+`,mode="accesssharelock"}`, wave(3, float64(n)))
	}
	p.over(`pg_stat_archiver_last_archive_age{`+postgres+`}`, wave(30, 0))
	for n, pod := range []string{"postgres-1-1", "postgres-1-2"} {
		l := fmt.Sprintf(`job="postgres",namespace="data",pod=%q`, pod)
		p.constant(`cnpg_collector_up{`+l+`,cluster="postgres-1"}`, 1)
		p.constant(`cnpg_collector_pg_wal_archive_status{`+l+`,value="ready"}`, 0)
		if n == 0 { // the primary
			p.constant(`cnpg_collector_sync_replicas{`+l+`,value="observed"}`, 0)
			p.constant(`cnpg_collector_last_available_backup_timestamp{`+l+`}`, float64(p.now.Add(-5*time.Hour).Unix()))
		} else {
			p.constant(`cnpg_collector_last_available_backup_timestamp{`+l+`}`, 0)
		}
	}
	for n, job := range []string{"redis-cache-exporter", "redis-stream-exporter"} {
		l := fmt.Sprintf(`job=%q`, job)
		p.constant(`redis_up{`+l+`}`, 1)
		p.over(`redis_memory_used_bytes{`+l+`}`, wave(float64(20+10*n)*(1<<20), 0))
		p.constant(`redis_memory_max_bytes{`+l+`}`, 128*(1<<20))
		p.counter(`redis_keyspace_hits_total{`+l+`}`, wave(40, 0))
		p.counter(`redis_keyspace_misses_total{`+l+`}`, wave(4, 0))
		p.counter(`redis_evicted_keys_total{`+l+`}`, steady(0))
		p.counter(`redis_expired_keys_total{`+l+`}`, wave(2, 0))
		p.counter(`redis_commands_processed_total{`+l+`}`, wave(80, 0))
		p.constant(`redis_connected_clients{`+l+`}`, 12)
		p.constant(`redis_blocked_clients{`+l+`}`, float64(2*n))
		p.constant(`redis_slowlog_last_id{`+l+`}`, 0)
	}
}

// rest writes the series of the edge and the firing alerts.
func (p *platform) rest() {
	const edge = `job="edge",entrypoint="websecure",method="GET",protocol="http"`
	p.counter(`traefik_entrypoint_requests_total{`+edge+`,code="200"}`, wave(35, 0))
	p.counter(`traefik_entrypoint_requests_total{`+edge+`,code="503"}`, func(minutes float64) float64 { return .006 + during(troubled, recovered, steady(1))(minutes) })
	p.counter(`traefik_entrypoint_requests_total{`+edge+`,code="429"}`, wave(1, 0))
	p.histogram("traefik_entrypoint_request_duration_seconds", edge, wave(35, 0), wave(.02, 0))
	p.over(`traefik_open_connections{job="edge",entrypoint="websecure",protocol="TCP"}`, wave(20, 0))
	p.constant(`up{job="public-address"}`, 1)
	p.constant(`job:certificate_not_after:timestamp_seconds{job="edge"}`, 4e9)
	p.counter(`apiserver_request_total{job="apiserver",code="200"}`, wave(8, 0))
	p.constant(`apiserver_current_inflight_requests{job="apiserver",request_kind="readOnly"}`, 2)
	p.constant(`apiserver_storage_size_bytes{job="apiserver"}`, 20*(1<<20))
	p.counter(`coredns_dns_responses_total{job="coredns",rcode="NOERROR"}`, wave(5, 0))
	p.histogram("coredns_dns_request_duration_seconds", `job="coredns"`, wave(5, 0), wave(.002, 0))
	const prometheus, alertmanager = `job="prometheus",pod="prometheus-0"`, `job="alertmanager",pod="alertmanager-0"`
	p.constant(`prometheus_tsdb_head_series{`+prometheus+`}`, 9000)
	p.counter(`prometheus_tsdb_head_samples_appended_total{`+prometheus+`,type="float"}`, wave(600, 0))
	p.constant(`prometheus_rule_group_last_duration_seconds{`+prometheus+`,rule_group="rules.yml;outages"}`, .01)
	p.over(`process_resident_memory_bytes{`+prometheus+`}`, wave(200*(1<<20), 0))
	p.over(`process_resident_memory_bytes{`+alertmanager+`}`, wave(30*(1<<20), 0))
	p.constant(`alertmanager_alerts{`+alertmanager+`,state="active"}`, 2)
	p.counter(`alertmanager_notifications_total{`+alertmanager+`,integration="slack"}`, steady(.01))
	p.counter(`alertmanager_notifications_failed_total{`+alertmanager+`,integration="slack"}`, steady(0))
	p.constant(`up{job="edge",instance="10.0.0.9:9090"}`, 1)
	p.constant(`up{job="coredns",instance="10.0.0.8:9153"}`, 0)
	p.constant(`ALERTS{alertname="ErrorBudgetBurn",alertstate="firing",severity="page",job="order-service"}`, 1)
	p.constant(`ALERTS{alertname="TargetGone",alertstate="firing",severity="ticket",job="coredns",namespace="kube-system"}`, 1)
	p.constant(`ALERTS{alertname="Watchdog",alertstate="firing",severity="none"}`, 1)
}
