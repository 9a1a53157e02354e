package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// alert is an alert in a notification of Alertmanager (prometheus.io/docs/alerting/latest/configuration, webhook_config).
type alert struct {
	Status      string            `json:"status"` // firing or resolved
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// receiver is a fake on-call webhook and a fake trace store. It receives alerts by webhook, and traces as OTLP over gRPC.
type receiver struct {
	mu       sync.Mutex
	received []alert
	traces   [][]byte
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(io.LimitReader(request.Body, 16<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if request.URL.Path == "/opentelemetry.proto.collector.trace.v1.TraceService/Export" {
		r.export(w, body)
		return
	}
	var message struct {
		Alerts []alert `json:"alerts"`
	}
	if err := json.Unmarshal(body, &message); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = append(r.received, message.Alerts...)
}

// export handles the one OTLP call over gRPC: a byte that marks compression, the message's length, the message.
func (r *receiver) export(w http.ResponseWriter, body []byte) {
	const prefix = 5
	if len(body) < prefix {
		http.Error(w, "no message", http.StatusBadRequest)
		return
	}
	message := body[prefix:]
	if body[0] == 1 {
		compressed, err := gzip.NewReader(bytes.NewReader(message))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if message, err = io.ReadAll(compressed); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	r.mu.Lock()
	r.traces = append(r.traces, message)
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(make([]byte, prefix))
	w.Header().Set("Grpc-Status", "0")
}

// about returns the received notifications of an alert of a job with that status.
func (r *receiver) about(name, job, status string) []alert {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []alert
	for _, alert := range r.received {
		if alert.Labels["alertname"] == name && alert.Labels["job"] == job && alert.Status == status {
			found = append(found, alert)
		}
	}
	return found
}

// heardOf returns a condition: the receiver got ServiceDown of the job with that status.
func (r *receiver) heardOf(job, status string) func() error {
	return func() error {
		if len(r.about("ServiceDown", job, status)) == 0 {
			return fmt.Errorf("no notification that ServiceDown of %s is %s", job, status)
		}
		return nil
	}
}

func (r *receiver) hasTrace(id string) error {
	traceID, err := hex.DecodeString(id)
	if err != nil || len(traceID) != 16 {
		return fmt.Errorf("%q is not a trace ID (%w)", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, message := range r.traces {
		if bytes.Contains(message, traceID) {
			return nil
		}
	}
	return fmt.Errorf("trace %s is not among the %d messages", id, len(r.traces))
}

// receive listens on an address of this machine that pods can reach, on a port that is allowed for webhooks.
func receive(t *testing.T) (*receiver, string) {
	t.Helper()
	node := output(t, "kubectl", "get", "nodes", `--output=jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	var faults []error
	for _, port := range []string{"8080", "8443", "80", "443"} {
		listener, err := net.Listen("tcp", net.JoinHostPort(node, port))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		taken := &receiver{}
		var protocols http.Protocols
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		server := &http.Server{Handler: taken, Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close() })
		return taken, listener.Addr().String()
	}
	t.Fatal(errors.Join(faults...))
	return nil, ""
}

// scale sets the number of replicas of a workload.
func scale(t *testing.T, namespace, workload string, replicas int) {
	t.Helper()
	output(t, "kubectl", "scale", "--namespace="+namespace, workload, fmt.Sprintf("--replicas=%d", replicas))
}

// known returns a condition: the alert is firing in Prometheus.
func known(name, job string) func() error {
	return func() error {
		firing, err := query(fmt.Sprintf(`ALERTS{alertname=%q, job=%q, alertstate="firing"}`, name, job))
		if err == nil && len(firing) == 0 {
			err = fmt.Errorf("%s of %s isn't firing", name, job)
		}
		return err
	}
}

func TestAlertsReachTheOnCallReceiver(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	onCall, address := receive(t)
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if printed, err := upFrom(root); err != nil {
			t.Errorf("the platform isn't restored: %v\n%s", err, printed)
		}
	})
	clone := copyOfTheClone(t)
	// A separate configuration, so that the platform's own one doesn't change.
	output(t, "bash", "-c", "cd '"+clone+"' && cp -L Pulumi.local.yaml own && mv own Pulumi.local.yaml")
	for _, setting := range []string{
		"--secret platform:alertWebhookUrl http://" + address + "/alerts",
		"--path platform:monitoring.webhookNetwork " + host + "/32",
		"--path platform:monitoring.traces http://" + address,
	} {
		output(t, "bash", "-c", "cd '"+clone+"' && pulumi config set --stack local "+setting)
	}
	if printed, err := upFrom(clone); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	t.Cleanup(func() {
		for _, service := range []string{"user-service", "order-service"} {
			scale(t, "apps", "deployment/"+live(t, service), 1)
		}
		scale(t, "monitoring", "statefulset/alertmanager", 1)
		for _, workload := range []string{"apps deployment/" + live(t, "user-service"), "apps deployment/" + live(t, "order-service"), "monitoring statefulset/alertmanager"} {
			namespace, name, _ := strings.Cut(workload, " ")
			output(t, "kubectl", "rollout", "status", "--namespace="+namespace, name, "--timeout=2m")
		}
	})
	t.Run("no page while everything is healthy", func(t *testing.T) {
		eventually(t, 5*time.Minute, "no page is firing", func() error {
			pages, err := query(`ALERTS{severity="page", alertstate="firing"}`)
			if err == nil && len(pages) > 0 {
				err = fmt.Errorf("%v", pages[0].Metric)
			}
			return err
		})
	})
	t.Run("an outage, soon, with a runbook", func(t *testing.T) {
		scale(t, "apps", "deployment/"+live(t, "user-service"), 0)
		began := time.Now()
		eventually(t, 3*time.Minute, "the outage is notified", onCall.heardOf("user-service", "firing"))
		t.Logf("notified %.0f s after its cause", time.Since(began).Seconds())
		page := onCall.about("ServiceDown", "user-service", "firing")[0]
		if page.Labels["severity"] != "page" || page.Labels["stack"] != "local" || page.Annotations["summary"] == "" {
			t.Errorf("the notification is %v %v", page.Labels, page.Annotations)
		}
		if _, err := os.Stat(filepath.Join(root, page.Annotations["runbook_url"])); err != nil {
			t.Errorf("its runbook: %v", err)
		}
		if more := onCall.about("TargetMissing", "user-service", "firing"); len(more) > 0 {
			t.Errorf("inhibited alerts were sent: %v", more)
		}
	})
	t.Run("a failed request, by its trace", func(t *testing.T) {
		answer, err := api.expect(http.MethodGet, "/api/users/me", token, nil, http.StatusBadGateway, http.StatusServiceUnavailable)
		if err != nil {
			t.Fatal(err)
		}
		id := answer.header.Get("X-Request-ID")
		var line struct {
			Trace string `json:"trace_id"`
		}
		eventually(t, time.Minute, "the gateway's log contains the request", func() error {
			printed, err := attempt("kubectl", "logs", "--namespace=apps", "deployment/"+live(t, "api-gateway"), "--since=5m")
			if err != nil {
				return err
			}
			for text := range strings.Lines(printed) {
				if strings.Contains(text, id) {
					return json.Unmarshal([]byte(text), &line)
				}
			}
			return fmt.Errorf("no line for request %s", id)
		})
		eventually(t, 2*time.Minute, "its trace arrives", func() error { return onCall.hasTrace(line.Trace) })
	})
	t.Run("an outage during an outage of Alertmanager, afterwards", func(t *testing.T) {
		scale(t, "monitoring", "statefulset/alertmanager", 0)
		output(t, "kubectl", "wait", "--namespace=monitoring", "pod/alertmanager-0", "--for=delete", "--timeout=1m")
		scale(t, "apps", "deployment/"+live(t, "user-service"), 1)
		scale(t, "apps", "deployment/"+live(t, "order-service"), 0)
		eventually(t, 3*time.Minute, "Prometheus knows", known("ServiceDown", "order-service"))
		if err := onCall.heardOf("order-service", "firing")(); err == nil {
			t.Error("a notification arrived without Alertmanager")
		}
		scale(t, "monitoring", "statefulset/alertmanager", 1)
		eventually(t, 3*time.Minute, "the outage is notified", onCall.heardOf("order-service", "firing"))
	})
	t.Run("the end of an outage", func(t *testing.T) {
		eventually(t, 6*time.Minute, "the first resolution is notified", onCall.heardOf("user-service", "resolved"))
	})
}

func TestEveryRuleIsHealthy(t *testing.T) {
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	stop := make(chan struct{})
	defer close(stop)
	go api.use(token, stop) // some metrics exist only with requests
	type rules struct {
		Groups []struct {
			Name  string
			File  string
			Rules []struct{ Name, Query, Health, LastError string }
		}
	}
	eventually(t, 3*time.Minute, "every rule is evaluated", func() error {
		found, err := prometheus[rules]("rules")
		if err != nil {
			return err
		}
		count := 0
		for _, group := range found.Groups {
			for _, rule := range group.Rules {
				count++
				if rule.Health != "ok" {
					return fmt.Errorf("%s of group %s: %s %s", rule.Name, group.Name, rule.Health, rule.LastError)
				}
			}
		}
		if count < 100 {
			return fmt.Errorf("there are only %d rules", count)
		}
		return nil
	})
	watchdog, err := query(`ALERTS{alertname="Watchdog", alertstate="firing"}`)
	if err != nil || len(watchdog) != 1 {
		t.Errorf("the Watchdog alert is %v (%v)", watchdog, err)
	}
	// A rule that queries a metric without series never fires.
	found, err := prometheus[rules]("rules")
	if err != nil {
		t.Fatal(err)
	}
	ruleOf := map[string]string{} // rule by metric
	for _, group := range found.Groups {
		for _, rule := range group.Rules {
			tree, err := prometheus[any]("parse_query?query=" + escape(rule.Query))
			if err != nil {
				t.Fatalf("%s: %v", rule.Name, err)
			}
			for _, name := range selected(tree) {
				ruleOf[name] = rule.Name
			}
		}
	}
	for name := range onlyAfterwards {
		if ruleOf[name] == "" {
			t.Errorf("no rule queries %s any more", name)
		}
	}
	eventually(t, 2*time.Minute, "every queried metric has series", func() error {
		names, err := prometheus[[]string]("label/__name__/values")
		if err != nil {
			return err
		}
		var missing []error
		for name, rule := range ruleOf {
			if onlyAfterwards[name] == "" && !slices.Contains(names, name) {
				missing = append(missing, fmt.Errorf("%s queries %s", rule, name))
			}
		}
		return errors.Join(missing...)
	})
}

// onlyAfterwards maps metrics that exist only after an event to that event.
var onlyAfterwards = map[string]string{
	"gateway_service_errors_total":                     "a 5xx response",
	"user_service_errors_total":                        "a 5xx response",
	"order_service_errors_total":                       "a 5xx response",
	"notification_service_errors_total":                "a 5xx response",
	"notification_service_webhook_deliveries_total":    "a delivery to a webhook, which the local stack has none of",
	"kube_pod_container_status_last_terminated_reason": "the termination of a container",
	"kube_pod_container_status_waiting_reason":         "a waiting container",
	"kube_job_failed":                                  "a failed Job",
}

// selected returns the metrics in a query, from the tree of Prometheus' parser.
func selected(tree any) []string {
	var names []string
	switch node := tree.(type) {
	case map[string]any:
		if name, ok := node["name"].(string); ok && name != "" && (node["type"] == "vectorSelector" || node["type"] == "matrixSelector") {
			names = append(names, name)
		}
		for _, child := range node {
			names = append(names, selected(child)...)
		}
	case []any:
		for _, child := range node {
			names = append(names, selected(child)...)
		}
	}
	return names
}
