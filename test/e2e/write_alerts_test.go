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
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/test/kit"
)

// alert is an alert in a notification of Alertmanager (prometheus.io/docs/alerting/latest/configuration, webhook_config).
type alert struct {
	Status      string            `json:"status"` // firing or resolved
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	Graph       string            `json:"generatorURL"`
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
	node := kit.NodeAddresses(t)[0].String()
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

func TestAlertsReachTheOnCallReceiver(t *testing.T) {
	onCall, address := receive(t)
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kit.Restore(t) })
	clone := kit.CopySources(t)
	kit.OwnConfig(t, clone)
	for _, setting := range []string{
		"--secret platform:alertWebhookUrl http://" + address + "/alerts",
		"--path platform:monitoring.webhookNetwork " + host + "/32",
		"--path platform:monitoring.traces http://" + address,
	} {
		kit.Output(t, "bash", "-c", "cd '"+clone+"' && pulumi config set --stack local "+setting)
	}
	if printed, err := kit.PulumiUp(clone); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	t.Cleanup(func() {
		for _, service := range []string{"user-service", "order-service"} {
			kit.Scale(t, "apps", "deployment/"+kit.LiveDeployment(t, service), 1)
		}
		kit.Scale(t, "monitoring", "statefulset/alertmanager", 1)
		for _, workload := range []string{"apps deployment/" + kit.LiveDeployment(t, "user-service"), "apps deployment/" + kit.LiveDeployment(t, "order-service"), "monitoring statefulset/alertmanager"} {
			namespace, name, _ := strings.Cut(workload, " ")
			kit.Output(t, "kubectl", "rollout", "status", "--namespace="+namespace, name, "--timeout=2m")
		}
	})
	t.Run("no page while everything is healthy", func(t *testing.T) {
		kit.Eventually(t, 5*time.Minute, "no page is firing", kit.AlertFires(`severity="page"`, false))
	})
	t.Run("an outage, soon, with a runbook", func(t *testing.T) {
		kit.Scale(t, "apps", "deployment/"+kit.LiveDeployment(t, "user-service"), 0)
		began := time.Now()
		kit.Eventually(t, 3*time.Minute, "the outage is notified", onCall.heardOf("user-service", "firing"))
		t.Logf("notified %.0f s after its cause", time.Since(began).Seconds())
		page := onCall.about("ServiceDown", "user-service", "firing")[0]
		if page.Labels["severity"] != "page" || page.Labels["stack"] != "local" || page.Annotations["summary"] == "" {
			t.Errorf("the notification is %v %v", page.Labels, page.Annotations)
		}
		if _, err := os.Stat(page.Annotations["runbook_url"]); err != nil {
			t.Errorf("its runbook: %v", err)
		}
		version := kit.LiveVersions(t)["user-service"]
		for what, has := range map[string]bool{
			"its beginning":        page.StartsAt.After(began.Add(-time.Minute)) && page.StartsAt.Before(time.Now()),
			"a link to its graph":  strings.HasPrefix(page.Graph, "http://127.0.0.1:9090/graph?g0.expr="),
			"a link to a silence":  strings.HasPrefix(page.Annotations["silence_url"], "http://127.0.0.1:9093/#/silences/new?filter=%7Balertname%3D%22ServiceDown%22%2Cjob%3D%22user-service%22%7D"),
			"a link to dashboards": page.Annotations["dashboard_url"] == "http://127.0.0.1:3000/d/platform",
			"the last release":     strings.Contains(page.Annotations["release"], version+" since 20"),
		} {
			if !has {
				t.Errorf("the notification lacks %s: %+v", what, page)
			}
		}
		if more := onCall.about("TargetMissing", "user-service", "firing"); len(more) > 0 {
			t.Errorf("inhibited alerts were sent: %v", more)
		}
	})
	t.Run("a failed request, by its trace", func(t *testing.T) {
		response, err := api.Expect(http.MethodGet, "/api/users/me", token, nil, http.StatusBadGateway, http.StatusServiceUnavailable)
		if err != nil {
			t.Fatal(err)
		}
		id := response.Header.Get("X-Request-ID")
		var line struct {
			Trace string `json:"trace_id"`
		}
		kit.Eventually(t, time.Minute, "the gateway's log contains the request", func() error {
			printed, err := kit.Run("kubectl", "logs", "--namespace=apps", "deployment/"+kit.LiveDeployment(t, "api-gateway"), "--since=5m")
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
		kit.Eventually(t, 2*time.Minute, "its trace arrives", func() error { return onCall.hasTrace(line.Trace) })
	})
	t.Run("an outage during an outage of Alertmanager, afterwards", func(t *testing.T) {
		kit.Scale(t, "monitoring", "statefulset/alertmanager", 0)
		kit.Output(t, "kubectl", "wait", "--namespace=monitoring", "pod/alertmanager-0", "--for=delete", "--timeout=1m")
		kit.Scale(t, "apps", "deployment/"+kit.LiveDeployment(t, "user-service"), 1)
		kit.Scale(t, "apps", "deployment/"+kit.LiveDeployment(t, "order-service"), 0)
		kit.Eventually(t, 3*time.Minute, "Prometheus knows", kit.AlertFires(`alertname="ServiceDown", job="order-service"`, true))
		if err := onCall.heardOf("order-service", "firing")(); err == nil {
			t.Error("a notification arrived without Alertmanager")
		}
		kit.Scale(t, "monitoring", "statefulset/alertmanager", 1)
		kit.Eventually(t, 3*time.Minute, "the outage is notified", onCall.heardOf("order-service", "firing"))
	})
	t.Run("the end of an outage", func(t *testing.T) {
		kit.Eventually(t, 6*time.Minute, "the first resolution is notified", onCall.heardOf("user-service", "resolved"))
	})
}
