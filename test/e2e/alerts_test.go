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

// alert is one that Alertmanager tells of (prometheus.io/docs/alerting/latest/configuration, webhook_config).
type alert struct {
	Status      string            `json:"status"` // firing or resolved
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// receiver is somebody on call, and whoever keeps traces: it takes alerts by webhook, and traces as OTLP over gRPC.
type receiver struct {
	mu     sync.Mutex
	told   []alert
	traces [][]byte
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
	r.told = append(r.told, message.Alerts...)
}

// export is the one call of OTLP over gRPC: a byte that says whether the message is compressed, its length, the message.
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

// about is what was told of an alert of a job with that status.
func (r *receiver) about(name, job, status string) []alert {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []alert
	for _, alert := range r.told {
		if alert.Labels["alertname"] == name && alert.Labels["job"] == job && alert.Status == status {
			found = append(found, alert)
		}
	}
	return found
}

// heardOf reports whether an outage of a job was told of.
func (r *receiver) heardOf(job, status string) func() error {
	return func() error {
		if len(r.about("ServiceDown", job, status)) == 0 {
			return fmt.Errorf("nobody is told that ServiceDown of %s is %s", job, status)
		}
		return nil
	}
}

func (r *receiver) hasTrace(id string) error {
	wanted, err := hex.DecodeString(id)
	if err != nil || len(wanted) != 16 {
		return fmt.Errorf("%q is no trace id (%w)", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, message := range r.traces {
		if bytes.Contains(message, wanted) {
			return nil
		}
	}
	return fmt.Errorf("trace %s is not among the %d messages", id, len(r.traces))
}

// receive listens where pods reach this machine, on a port on which a webhook may be.
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

// scale sets how many pods there are of something.
func scale(t *testing.T, namespace, workload string, replicas int) {
	t.Helper()
	output(t, "kubectl", "scale", "--namespace="+namespace, workload, fmt.Sprintf("--replicas=%d", replicas))
}

// known reports whether Prometheus holds an alert to be true.
func known(name, job string) func() error {
	return func() error {
		firing, err := query(fmt.Sprintf(`ALERTS{alertname=%q, job=%q, alertstate="firing"}`, name, job))
		if err == nil && len(firing) == 0 {
			err = fmt.Errorf("%s of %s isn't firing", name, job)
		}
		return err
	}
}

func TestWhoIsOnCallIsTold(t *testing.T) {
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
		if said, err := upFrom(root); err != nil {
			t.Errorf("the platform isn't as it was: %v\n%s", err, said)
		}
	})
	clone := copyOfTheClone(t)
	// A configuration of its own: that of the platform stays as it is.
	output(t, "bash", "-c", "cd '"+clone+"' && cp -L Pulumi.local.yaml own && mv own Pulumi.local.yaml")
	for _, setting := range []string{
		"--secret platform:alertWebhookUrl http://" + address + "/alerts",
		"--path platform:monitoring.webhookNetwork " + host + "/32",
		"--path platform:monitoring.traces http://" + address,
	} {
		output(t, "bash", "-c", "cd '"+clone+"' && pulumi config set --stack local "+setting)
	}
	if said, err := upFrom(clone); err != nil {
		t.Fatalf("%v\n%s", err, said)
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
	t.Run("nobody is paged while all is well", func(t *testing.T) {
		eventually(t, 5*time.Minute, "no page is out", func() error {
			pages, err := query(`ALERTS{severity="page", alertstate="firing"}`)
			if err == nil && len(pages) > 0 {
				err = fmt.Errorf("%v", pages[0].Metric)
			}
			return err
		})
	})
	t.Run("of an outage, soon, with what to do", func(t *testing.T) {
		scale(t, "apps", "deployment/"+live(t, "user-service"), 0)
		began := time.Now()
		eventually(t, 3*time.Minute, "the outage is told", onCall.heardOf("user-service", "firing"))
		t.Logf("told %.0f s after its cause", time.Since(began).Seconds())
		told := onCall.about("ServiceDown", "user-service", "firing")[0]
		if told.Labels["severity"] != "page" || told.Labels["stack"] != "local" || told.Annotations["summary"] == "" {
			t.Errorf("it is told as %v %v", told.Labels, told.Annotations)
		}
		if _, err := os.Stat(filepath.Join(root, told.Annotations["runbook_url"])); err != nil {
			t.Errorf("its runbook: %v", err)
		}
		if more := onCall.about("TargetMissing", "user-service", "firing"); len(more) > 0 {
			t.Errorf("what follows from it is told as well: %v", more)
		}
	})
	t.Run("where a request failed, by its trace", func(t *testing.T) {
		answer, err := api.expect(http.MethodGet, "/api/users/me", token, nil, http.StatusBadGateway, http.StatusServiceUnavailable)
		if err != nil {
			t.Fatal(err)
		}
		id := answer.header.Get("X-Request-ID")
		var line struct {
			Trace string `json:"trace_id"`
		}
		eventually(t, time.Minute, "the gateway's log tells of the request", func() error {
			said, err := attempt("kubectl", "logs", "--namespace=apps", "deployment/"+live(t, "api-gateway"), "--since=5m")
			if err != nil {
				return err
			}
			for text := range strings.Lines(said) {
				if strings.Contains(text, id) {
					return json.Unmarshal([]byte(text), &line)
				}
			}
			return fmt.Errorf("no line of request %s", id)
		})
		eventually(t, 2*time.Minute, "its trace arrives", func() error { return onCall.hasTrace(line.Trace) })
	})
	t.Run("of an outage while Alertmanager was away, once it is back", func(t *testing.T) {
		scale(t, "monitoring", "statefulset/alertmanager", 0)
		output(t, "kubectl", "wait", "--namespace=monitoring", "pod/alertmanager-0", "--for=delete", "--timeout=1m")
		scale(t, "apps", "deployment/"+live(t, "user-service"), 1)
		scale(t, "apps", "deployment/"+live(t, "order-service"), 0)
		eventually(t, 3*time.Minute, "Prometheus knows", known("ServiceDown", "order-service"))
		if err := onCall.heardOf("order-service", "firing")(); err == nil {
			t.Error("it is told without Alertmanager")
		}
		scale(t, "monitoring", "statefulset/alertmanager", 1)
		eventually(t, 3*time.Minute, "the outage is told", onCall.heardOf("order-service", "firing"))
	})
	t.Run("of an outage's end", func(t *testing.T) {
		eventually(t, 6*time.Minute, "the first end is told", onCall.heardOf("user-service", "resolved"))
	})
}

func TestEveryRuleIsSound(t *testing.T) {
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	stop := make(chan struct{})
	defer close(stop)
	go api.use(token, stop) // what nobody asks for counts nothing
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
		t.Errorf("the dead man's switch is %v (%v)", watchdog, err)
	}
	// A rule that asks for a series which nobody makes is silent for ever.
	found, err := prometheus[rules]("rules")
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]string{} // the name of a rule, by the metric
	for _, group := range found.Groups {
		for _, rule := range group.Rules {
			tree, err := prometheus[any]("parse_query?query=" + escape(rule.Query))
			if err != nil {
				t.Fatalf("%s: %v", rule.Name, err)
			}
			for _, name := range selected(tree) {
				asked[name] = rule.Name
			}
		}
	}
	for name := range onlyAfterwards {
		if asked[name] == "" {
			t.Errorf("no rule asks for %s any more", name)
		}
	}
	eventually(t, 2*time.Minute, "somebody makes every series that is asked for", func() error {
		names, err := prometheus[[]string]("label/__name__/values")
		if err != nil {
			return err
		}
		var missing []error
		for name, rule := range asked {
			if onlyAfterwards[name] == "" && !slices.Contains(names, name) {
				missing = append(missing, fmt.Errorf("%s asks for %s", rule, name))
			}
		}
		return errors.Join(missing...)
	})
}

// onlyAfterwards is the series that are there only once something has happened, and what.
var onlyAfterwards = map[string]string{
	"gateway_service_errors_total":                     "an answer 5xx",
	"user_service_errors_total":                        "an answer 5xx",
	"order_service_errors_total":                       "an answer 5xx",
	"notification_service_errors_total":                "an answer 5xx",
	"notification_service_webhook_deliveries_total":    "a delivery to a webhook, which the local stack has none of",
	"kube_pod_container_status_last_terminated_reason": "a container's end",
	"kube_pod_container_status_waiting_reason":         "a container that waits",
	"kube_job_failed":                                  "a Job's failure",
}

// selected is the metrics that a query asks for, from its tree as Prometheus parses it.
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
