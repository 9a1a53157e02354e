package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/rule"
	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

// prometheusThat answers every query with 0. Each connection ends after that many queries, except for the last one.
func prometheusThat(endsAfter ...int32) forward {
	var connections atomic.Int32
	return func(ctx context.Context) (int, error) {
		var left atomic.Int32
		left.Store(1 << 30)
		if i := int(connections.Add(1)) - 1; i < len(endsAfter) {
			left.Store(endsAfter[i])
		}
		if left.Load() == 0 {
			return 0, errors.New("no pod is ready")
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if left.Add(-1) < 0 {
				panic(http.ErrAbortHandler) // closes the connection
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,"0"]}]}}`))
		})}
		context.AfterFunc(ctx, func() { _ = server.Close() })
		go func() { _ = server.Serve(listener) }()
		return listener.Addr().(*net.TCPAddr).Port, nil
	}
}

// watching opens a watcher of a service that has just switched.
func watching(t *testing.T, prometheus forward, away time.Duration) (*watcher, []report.Service, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	service := catalog.Services()[0]
	w := &watcher{
		session: &session{out: newProgress(&out, false), services: map[string]catalog.Service{service.Name: service}},
		forward: prometheus, every: 5 * time.Millisecond, away: away,
	}
	if err := w.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w, []report.Service{{Name: service.Name, FromColour: "blue", ToColour: "green", Switched: time.Now()}}, &out
}

func TestWatchReconnects(t *testing.T) {
	w, moved, out := watching(t, prometheusThat(5, 0, 5), time.Minute) // lost during a check, then refused, then lost again
	found, err := w.watch(t.Context(), moved, 100*time.Millisecond)
	if err != nil || found.Text == "" || found.Bad {
		t.Errorf("got %v (%v), want a good verdict", found, err)
	}
	if text := out.String(); strings.Count(text, "retrying") < 3 {
		t.Errorf("printed\n%s", text)
	}
}

func TestWatchFailsIfPrometheusStaysUnreachable(t *testing.T) {
	endings := make([]int32, 10_000)
	endings[0] = 5 // during the first check
	w, moved, _ := watching(t, prometheusThat(endings...), 100*time.Millisecond)
	if found, err := w.watch(t.Context(), moved, time.Minute); err == nil {
		t.Errorf("got %v without a measurement", found)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	w, moved, _ := watching(t, prometheusThat(10), time.Minute)
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("the lock was taken")
	time.AfterFunc(50*time.Millisecond, func() { cancel(lost) })
	if _, err := w.watch(ctx, moved, time.Minute); !errors.Is(err, lost) {
		t.Errorf("got %v, want %v", err, lost)
	}
	if w.close(); w.stop != nil {
		t.Error("the connection is not closed")
	}
}

// samples is a Prometheus that answers a query with the value of the first text that the query contains, or with no sample.
func samples(t *testing.T, values map[string]string) forward {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result := ""
		for text, value := range values {
			if strings.Contains(r.FormValue("query"), text) {
				result = `{"metric":{},"value":[0,"` + value + `"]}`
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[%s]}}`, result)
	}))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context) (port int, err error) {
		_, err = fmt.Sscan(at.Port(), &port)
		return port, err
	}
}

func TestMeasured(t *testing.T) {
	service := catalog.Services()[0]
	metrics := rule.RequestsOf(service)
	total, failed, within, latency := metrics.Total+"{", metrics.Failed+"{", "sum(increase("+metrics.Duration+"_bucket", "histogram_quantile"
	for _, c := range []struct {
		name   string
		values map[string]string
		want   release.Measured
	}{
		{"requests", map[string]string{total: "10", failed: "2", within: "7", latency: "0.25"},
			release.Measured{Requests: 10, Errors: 2, Slow: 3, P99: 250 * time.Millisecond}},
		{"an estimate above the requests", map[string]string{total: "10", within: "10.5"}, release.Measured{Requests: 10}},
		{"no requests", map[string]string{latency: "NaN"}, release.Measured{}},
	} {
		w, _, _ := watching(t, samples(t, c.values), time.Minute)
		if got, err := w.measured(t.Context(), service, "green", time.Now(), time.Minute); err != nil || got != c.want {
			t.Errorf("%s: %+v (%v), want %+v", c.name, got, err, c.want)
		}
	}
}

func TestRequestsOfOtherServicesDoNotCount(t *testing.T) {
	service := catalog.Service{Name: "user-service", Internal: []string{"/sessions/revoked", "/a"}}
	for colour, want := range map[string]string{
		"": `job="user-service", endpoint!~"/sessions/revoked|/a"`, "green": `job="user-service", colour="green", endpoint!~"/sessions/revoked|/a"`,
	} {
		if got := matching(service, colour); got != want {
			t.Errorf("%q: %s, want %s", colour, got, want)
		}
	}
}

func TestTrafficCountsAllColoursOfThePublicService(t *testing.T) {
	const of = `{job="api-gateway"}[60s]`
	w, _, _ := watching(t, samples(t, map[string]string{
		"gateway_requests_total" + of: "10", "gateway_service_errors_total" + of: "2", "histogram_quantile(0.95": "0.25",
	}), time.Minute)
	w.session.services = map[string]catalog.Service{}
	for _, service := range catalog.Services() {
		w.session.services[service.Name] = service
	}
	now := time.Now()
	if got, err := w.traffic(t.Context(), now.Add(-time.Minute), now); err != nil || got != (report.Traffic{Requests: 10, Failed: 2, P95: 250}) {
		t.Errorf("got %+v (%v)", got, err)
	}
}

func TestWatchTakesLongEnoughForTwoScrapes(t *testing.T) {
	for span, want := range map[time.Duration]string{
		leastWatch - time.Second: "watching for 35s, the minimum", leastWatch: "watching for 35s\n", 2 * time.Minute: "watching for 2m0s\n",
	} {
		var out bytes.Buffer
		got := (&session{out: newProgress(&out, false)}).watchTime(span)
		if got != max(span, leastWatch) || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %s, %q", span, got, &out)
		}
	}
}
