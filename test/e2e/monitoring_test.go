package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sample is one series in the result of an instant query.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

func (s sample) number() float64 {
	text, _ := s.Value[1].(string)
	number, _ := strconv.ParseFloat(text, 64)
	return number
}

// prometheus calls Prometheus' API through the API server, like kubectl.
func prometheus[T any](path string) (T, error) {
	var answer struct {
		Status, Error string
		Data          T
	}
	printed, err := attempt("kubectl", "get", "--raw", "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/"+path)
	if err != nil {
		return answer.Data, err
	}
	if err := json.Unmarshal([]byte(printed), &answer); err != nil {
		return answer.Data, fmt.Errorf("prometheus: %w", err)
	}
	if answer.Status != "success" {
		return answer.Data, fmt.Errorf("prometheus: %s", answer.Error)
	}
	return answer.Data, nil
}

// query returns the current series of an expression.
func query(expression string) ([]sample, error) {
	data, err := prometheus[struct{ Result []sample }]("query?query=" + url.QueryEscape(expression))
	return data.Result, err
}

// value returns the current value of an expression.
func value(expression string) (float64, error) {
	series, err := query(expression)
	if err != nil {
		return 0, err
	}
	if len(series) != 1 {
		return 0, fmt.Errorf("%s has %d series, want one", expression, len(series))
	}
	return series[0].number(), nil
}

// watched returns every job that Prometheus must scrape.
func watched() []string {
	return append(serviceNames(), "edge", "coredns", "postgres-exporter", "redis-cache-exporter", "redis-stream-exporter",
		"kube-state-metrics", "node-exporter", "kubelet", "cadvisor", "apiserver", "prometheus", "alertmanager")
}

func TestPrometheusScrapesEveryJob(t *testing.T) {
	for _, job := range watched() {
		eventually(t, time.Minute, job+" is scraped", func() error {
			up, err := value(fmt.Sprintf("min(up{job=%q})", job))
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
		if got, err := value(expression); err != nil || got < 1 {
			t.Errorf("%s: %s is %v (%v)", why, expression, got, err)
		}
	}
}

func TestMonitoringIsSmall(t *testing.T) {
	const most = 600 // MiB in total
	var total int
	for line := range strings.Lines(output(t, "kubectl", "top", "pods", "--namespace=monitoring", "--no-headers")) {
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
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	for i := range 200 { // unexpected paths, queries, agents and methods
		_, _ = api.with("User-Agent", fmt.Sprintf("agent-%d", i)).with("X-Request-ID", fmt.Sprintf("request%d", i)).
			call([]string{"GET", "PUT", "BREW"}[i%3], fmt.Sprintf("/api/orders/%d?cursor=%d", i, i), token, nil)
	}
	time.Sleep(20 * time.Second) // until the next scrape
	series, err := query(`sort_desc(count by (job, pod) ({namespace=~"apps|edge", pod!="", job!="kube-state-metrics"}))`)
	if err != nil || len(series) < len(serviceNames()) {
		t.Fatalf("%d pods have series (%v)", len(series), err)
	}
	for _, pod := range series {
		if pod.number() > most {
			t.Errorf("pod %s has %v series, want at most %d", pod.Metric["pod"], pod.number(), most)
		}
	}
	if total, err := value("max(prometheus_tsdb_head_series)"); err != nil || total > 20_000 {
		t.Errorf("there are %v series in total (%v)", total, err)
	}
}

func TestKilledPrometheusKeepsItsSamples(t *testing.T) {
	before, err := value("min(timestamp(up))")
	if err != nil {
		t.Fatal(err)
	}
	at := strconv.FormatFloat(before, 'f', 0, 64)
	output(t, "kubectl", "delete", "pod", "prometheus-0", "--namespace=monitoring", "--grace-period=0", "--force")
	eventually(t, 2*time.Minute, "Prometheus has its old samples and new ones", func() error {
		data, err := prometheus[struct{ Result []sample }]("query?query=" + url.QueryEscape("count(up)") + "&time=" + at)
		if err == nil && len(data.Result) != 1 {
			err = errors.New("the old samples are lost")
		}
		if err != nil {
			return err
		}
		_, err = value("count(up)") // new samples
		return err
	})
}

func TestTargetWithInvalidMetricsDoesNotAffectOthers(t *testing.T) {
	const name = "e2e-garbage"
	remove := func() error {
		_, err := attempt("kubectl", "delete", "pod", name, "--namespace=apps", "--ignore-not-found", "--grace-period=0", "--force")
		return err
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	// The target has the labels of a service, which Prometheus may scrape, and returns no valid metric.
	manifest := `
apiVersion: v1
kind: Pod
metadata:
  name: ` + name + `
  namespace: apps
  labels: {app.kubernetes.io/name: ` + name + `, platform.example/of: user-service}
  annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9090", prometheus.io/path: /metrics}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 999, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: garbage
    image: docker.io/library/postgres:15-bookworm
    command: [perl, -MIO::Socket::INET, -e]
    args: ['$s = IO::Socket::INET->new(LocalPort => 9090, Listen => 5, ReuseAddr => 1) or die; while ($c = $s->accept) { sysread $c, $b, 4096; print $c "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n\xff is no metric {{{\n"; close $c }']
    resources: {requests: {cpu: 5m, memory: 16Mi}, limits: {cpu: 200m, memory: 64Mi}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`
	if _, err := feed(manifest, "kubectl", "apply", "--filename=-"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "the target is reported", func() error {
		down, err := value(fmt.Sprintf("up{job=%q}", name))
		if err == nil && down != 0 {
			err = errors.New("the target counts as healthy")
		}
		if err != nil {
			return err
		}
		_, err = value(fmt.Sprintf(`ALERTS{alertname="TargetServesGarbage", job=%q}`, name)) // pending at first
		return err
	})
	if up, err := value("min(up{job=~\"" + strings.Join(serviceNames(), "|") + "\"})"); err != nil || up != 1 {
		t.Errorf("the other targets are %v (%v)", up, err)
	}
}
