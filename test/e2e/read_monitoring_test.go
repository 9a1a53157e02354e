package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// watched returns every job that Prometheus must scrape.
func watched() []string {
	return append(kit.ServiceNames(), "edge", "coredns", "postgres-exporter", "redis-cache-exporter", "redis-stream-exporter",
		"kube-state-metrics", "node-exporter", "kubelet", "cadvisor", "apiserver", "prometheus", "alertmanager")
}

func TestPrometheusScrapesEveryJob(t *testing.T) {
	for _, job := range watched() {
		kit.Eventually(t, time.Minute, job+" is scraped", func() error {
			up, err := kit.QueryValue(fmt.Sprintf("min(up{job=%q})", job))
			if err == nil && up != 1 {
				err = errors.New("it is down")
			}
			return err
		})
	}
	for expression, why := range map[string]string{
		"min(pg_up)":    "postgres-exporter reaches its server",
		"min(redis_up)": "the exporters of Redis reach their servers",
		`count(kube_deployment_labels{namespace="apps",label_app_kubernetes_io_name!="",label_colour=~"blue|green"})`: "objects have the platform's labels",
		`count(container_memory_working_set_bytes{namespace="apps",container!=""})`:                                   "containers have metrics",
		`count(kubelet_volume_stats_available_bytes{namespace="data"} or node_filesystem_avail_bytes)`:                "disks have metrics",
		`count(traefik_service_requests_total or traefik_entrypoint_requests_total)`:                                  "the edge counts requests",
		`count(up{job="user-service",namespace="apps",colour=~"blue|green",pod=~"user-service-(blue|green)-.+"})`:     "targets have the platform's labels",
		`count(node_memory_MemAvailable_bytes) and count(node_load1) and count(node_cpu_seconds_total)`:               "the node has metrics",
	} {
		if got, err := kit.QueryValue(expression); err != nil || got < 1 {
			t.Errorf("%s: %s is %v (%v)", why, expression, got, err)
		}
	}
}

func TestMonitoringIsSmall(t *testing.T) {
	const most = 600 // MiB in total
	var total int
	for line := range strings.Lines(kit.Output(t, "kubectl", "top", "pods", "--namespace=monitoring", "--no-headers")) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			t.Fatalf("kubectl top prints %q", line)
		}
		mebibytes, err := strconv.Atoi(strings.TrimSuffix(fields[2], "Mi"))
		if err != nil {
			t.Fatal(err)
		}
		total += mebibytes
	}
	if total > most {
		t.Errorf("monitoring takes %d MiB, want at most %d", total, most)
	}
	t.Logf("monitoring takes %d MiB", total)
}

// No label may contain input of users: the number of series per pod must not depend on the number of users.
func TestSeriesAreBounded(t *testing.T) {
	const most = 700 // per pod of a service; an unused pod has some 150
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	for i := range 200 { // unexpected paths, queries, agents and methods
		_, _ = api.With("User-Agent", fmt.Sprintf("agent-%d", i)).With("X-Request-ID", fmt.Sprintf("request%d", i)).
			Call([]string{"GET", "PUT", "BREW"}[i%3], fmt.Sprintf("/api/orders/%d?cursor=%d", i, i), token, nil)
	}
	time.Sleep(20 * time.Second) // until the next scrape
	series, err := kit.Query(`sort_desc(count by (job, pod) ({namespace=~"apps|edge", pod!="", job!="kube-state-metrics"}))`)
	if err != nil || len(series) < len(kit.ServiceNames()) {
		t.Fatalf("%d pods have series (%v)", len(series), err)
	}
	for _, pod := range series {
		if pod.Number() > most {
			t.Errorf("pod %s has %v series, want at most %d", pod.Metric["pod"], pod.Number(), most)
		}
	}
	if total, err := kit.QueryValue("max(prometheus_tsdb_head_series)"); err != nil || total > 20_000 {
		t.Errorf("there are %v series in total (%v)", total, err)
	}
}
