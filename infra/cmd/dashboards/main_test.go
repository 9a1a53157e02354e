package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/dashboard"
)

// fakePrometheus answers every query with one series, and remembers what it was asked.
type fakePrometheus struct {
	mu    sync.Mutex
	asked []url.Values
	wrong map[string]string // what it says of a query that contains the key
}

func (f *fakePrometheus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	f.mu.Lock()
	f.asked = append(f.asked, r.Form)
	f.mu.Unlock()
	for part, message := range f.wrong {
		if strings.Contains(r.Form.Get("query"), part) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"status":"error","errorType":"bad_data","error":%q}`, message)
			return
		}
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/query_range"):
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[
			{"metric":{"job":"user-service"},"values":[[%s,"1.5"],[%s,"NaN"]]}]}}`, r.Form.Get("start"), r.Form.Get("end"))
	case strings.HasSuffix(r.URL.Path, "/query"):
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"job":"user-service"},"value":[%s,"2"]}]}}`, r.Form.Get("time"))
	default:
		_, _ = io.WriteString(w, `{"status":"success","data":["blue","green"]}`)
	}
}

func (f *fakePrometheus) queries() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, asked := range f.asked {
		all = append(all, asked.Get("query"))
	}
	return all
}

func pageOver(t *testing.T, prometheus http.Handler) *page {
	t.Helper()
	server := httptest.NewServer(prometheus)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	dashboards, err := dashboard.All(catalog.Services())
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPage(dashboards, at, &url.URL{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func get(t *testing.T, p *page, path string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	request.Host = "localhost:3000"
	recorder := httptest.NewRecorder()
	p.ServeHTTP(recorder, request)
	return recorder
}

func TestEveryPanelIsAnswered(t *testing.T) {
	prometheus := &fakePrometheus{}
	p := pageOver(t, prometheus)
	for _, d := range p.dashboards {
		for _, panel := range d.Panels() {
			path := fmt.Sprintf("/api/dashboards/%s/panels/%d?from=now-3h&to=now&points=100", d.UID(), *panel.Id)
			var shown picture
			if err := json.Unmarshal(get(t, p, path).Body.Bytes(), &shown); err != nil {
				t.Fatal(path, err)
			}
			if len(shown.Lines) != len(panel.Targets) || len(shown.Faults) > 0 {
				t.Errorf("%s: %s: %d lines of %d queries, faults %v", d.UID(), *panel.Title, len(shown.Lines), len(panel.Targets), shown.Faults)
			}
		}
	}
	unknown := regexp.MustCompile(`\$[a-z_]+`)
	for _, query := range prometheus.queries() {
		if found := unknown.FindString(query); found != "" {
			t.Errorf("%s was left in %s", found, query)
		}
	}
}

func TestAFaultIsShownWithItsQuery(t *testing.T) {
	p := pageOver(t, &fakePrometheus{wrong: map[string]string{"count(up == 0)": "too many samples"}})
	for _, panel := range p.dashboards[0].Panels() {
		if *panel.Title != "Targets that don't answer" {
			continue
		}
		body := get(t, p, fmt.Sprintf("/api/dashboards/%s/panels/%d", dashboard.Home, *panel.Id)).Body.String()
		for _, want := range []string{`"error":"too many samples"`, `count(up == 0) or vector(0)`} {
			if !strings.Contains(body, want) {
				t.Errorf("the answer lacks %s: %s", want, body)
			}
		}
		return
	}
	t.Fatal("there's no such panel")
}

func TestVariablesAsGrafanaPutsThem(t *testing.T) {
	anything := ".*"
	variables := []grafana.VariableModel{
		{Name: "service", Type: grafana.VariableTypeCustom, AllValue: &anything},
		{Name: "core", Type: grafana.VariableTypeTextbox},
	}
	hour := span{step: 15 * time.Second}
	hour.to = time.Unix(1_700_000_000, 0)
	hour.from = hour.to.Add(-time.Hour)
	week := hour
	week.step, week.from = 10*time.Minute, hour.to.Add(-7*24*time.Hour)
	for _, test := range []struct {
		name, expr string
		values     chosen
		span       span
		want       string
	}{
		{"one", `{job=~"$service"}`, chosen{"service": {"user-service"}}, hour, `{job=~"user-service"}`},
		{"several", `{job=~"$service"}`, chosen{"service": {"a", "b"}}, hour, `{job=~"(a|b)"}`},
		{"all", `{job=~"$service"}`, chosen{"service": {all}}, hour, `{job=~".*"}`},
		{"braces", `{job=~"${service:regex}"}`, chosen{"service": {"a"}}, hour, `{job=~"a"}`},
		{"signs stand for themselves", `{job=~"$service"}`, chosen{"service": {`a"} or b.c`}}, hour, `{job=~"a\"\\} or b\\.c"}`},
		{"a number", `1 * $core`, chosen{"core": {"20.5"}}, hour, `1 * 20.5`},
		{"a number that is none", `1 * $core`, chosen{"core": {"up"}}, hour, `1 * NaN`},
		{"four scrapes at least", `[$__rate_interval]`, nil, hour, `[60s]`},
		{"a step and a scrape", `[$__rate_interval] [$__interval] [$__range]`, nil, week, `[615s] [600s] [604800s]`},
		{"what nobody knows", `label_replace(up, "a", "$1", "b", "(.*)")`, nil, hour, `label_replace(up, "a", "$1", "b", "(.*)")`},
	} {
		if got := interpolate(test.expr, variables, test.values, test.span); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestSpans(t *testing.T) {
	now := time.Unix(1_700_000_007, 0)
	for _, test := range []struct {
		from, to, points string
		want             string // from before now, step, points; or the error
	}{
		{"", "", "", "1h0m12s 15s 241"},
		{"now-15m", "now", "1000", "15m12s 15s 61"},
		{"now-7d", "now", "400", "168h6m27s 25m15s 400"},
		{"now-2h", "now-1h", "100", "2h0m27s 30s 121"},
		{"now", "now-1h", "", "now is not before now-1h"},
		{"now-400d", "now", "", `"now-400d" is further back than Prometheus remembers: want at most now-31d`},
		{"yesterday", "now", "", `"yesterday" is no time such as now-6h`},
		{"now-99999999999999999999s", "now", "", `"now-99999999999999999999s" is further back than Prometheus remembers: want at most now-31d`},
	} {
		asked, err := spanOf(url.Values{"from": {test.from}, "to": {test.to}, "points": {test.points}}, now)
		got := fmt.Sprint(now.Sub(asked.from), " ", asked.step, " ")
		if err != nil {
			got = err.Error()
		} else {
			got += fmt.Sprint(asked.points())
		}
		if got != test.want {
			t.Errorf("%s to %s in %s: got %s, want %s", test.from, test.to, test.points, got, test.want)
		}
	}
}

func TestLegends(t *testing.T) {
	labels := map[string]string{"__name__": "up", "job": "user-service", "colour": "blue"}
	for pattern, want := range map[string]string{
		"{{job}} {{ colour }}": "user-service blue", "p99 {{nobody}}": "p99", "used": "used", "": "colour=blue job=user-service",
	} {
		if got := legend(pattern, labels); got != want {
			t.Errorf("%q: got %q, want %q", pattern, got, want)
		}
	}
}

func TestOnlyThisMachineIsAnsweredAndNothingElseIsLoaded(t *testing.T) {
	p := pageOver(t, &fakePrometheus{})
	for host, want := range map[string]int{
		"localhost:3000": http.StatusOK, "127.0.0.1:3000": http.StatusOK, "[::1]:3000": http.StatusOK,
		"evil.example.com": http.StatusMisdirectedRequest, "10.0.0.1:3000": http.StatusMisdirectedRequest, "localhost.example.com": http.StatusMisdirectedRequest,
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/d/platform", nil)
		request.Host = host
		recorder := httptest.NewRecorder()
		p.ServeHTTP(recorder, request)
		if recorder.Code != want {
			t.Errorf("as %s: %d, want %d", host, recorder.Code, want)
		}
		policy := recorder.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("the policy is %q", policy)
		}
	}
	for path, want := range map[string]int{
		"/": http.StatusFound, "/d/nothing": http.StatusOK, "/api/dashboards/nothing": http.StatusNotFound,
		"/api/dashboards/platform/panels/9999": http.StatusNotFound, "/api/dashboards/platform?from=soon": http.StatusBadRequest,
		"/static/page.js": http.StatusOK, "/static/uplot/LICENSE": http.StatusOK, "/static/../main.go": http.StatusTemporaryRedirect,
	} {
		if got := get(t, p, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

func TestItRefusesToListenToOthers(t *testing.T) {
	for _, address := range []string{"0.0.0.0:3000", ":3000", "10.0.0.1:3000", "localhost", "[::]:3000"} {
		err := run(t.Context(), []string{"-listen", address}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("-listen %s: %v", address, err)
		}
	}
	for _, args := range [][]string{{"-prometheus", "prometheus:9090"}, {"-alertmanager", "http://127.0.0.1:9093"}, {"up"},
		{"-prometheus", "http://127.0.0.1:9090", "-alertmanager", "file:///etc/passwd"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

func TestAlertsAreTheLoudestFirstWithoutTheWatchdog(t *testing.T) {
	alertmanager := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `[
			{"labels":{"alertname":"B","severity":"ticket"},"startsAt":"2026-01-01T00:00:00Z"},
			{"labels":{"alertname":"Watchdog","severity":"none"},"startsAt":"2026-01-01T00:00:00Z"},
			{"labels":{"alertname":"A","severity":"page"},"startsAt":"2026-01-02T00:00:00Z"}]`)
	}))
	t.Cleanup(alertmanager.Close)
	p := pageOver(t, &fakePrometheus{})
	if body := get(t, p, "/api/alerts").Body.String(); strings.TrimSpace(body) != "[]" {
		t.Errorf("without an Alertmanager the alerts are %s", body)
	}
	p.alerts, _ = url.Parse(alertmanager.URL)
	var alerts []alert
	if err := json.Unmarshal(get(t, p, "/api/alerts").Body.Bytes(), &alerts); err != nil {
		t.Fatal(err)
	}
	if len(alerts) != 2 || alerts[0].Labels["alertname"] != "A" || alerts[1].Labels["alertname"] != "B" {
		t.Errorf("the alerts are %v", alerts)
	}
}
