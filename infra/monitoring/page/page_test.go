package page

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/dashboard"
)

// upstream stands for Prometheus or Alertmanager. It returns its requests' paths and parameters, and remembers their headers.
type upstream struct {
	*httptest.Server
	seen http.Header
}

func start(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.seen = r.Header
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Set-Cookie", "a=b")
		if r.FormValue("query") == "wrong(" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"status":"error","error":"parse error"}`)
			return
		}
		_ = json.NewEncoder(w).Encode(r.URL.String())
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) at(t *testing.T) *url.URL {
	t.Helper()
	at, err := url.Parse(u.URL)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func pageOver(t *testing.T, prometheus, alertmanager *url.URL) http.Handler {
	t.Helper()
	page, err := newPage(dashboard.All(catalog.Services()), prometheus, alertmanager)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func send(t *testing.T, page http.Handler, method, host, path string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	request.Host = host
	request.Header.Set("Cookie", "of=another program")
	request.Header.Set("Origin", "https://evil.example.com")
	recorder := httptest.NewRecorder()
	page.ServeHTTP(recorder, request)
	return recorder
}

func get(t *testing.T, page http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	return send(t, page, http.MethodGet, "localhost:3000", path)
}

func TestPageIsOnlyForThisMachine(t *testing.T) {
	page := pageOver(t, start(t).at(t), nil)
	for host, want := range map[string]int{
		"localhost:3000": http.StatusOK, "127.0.0.1:3000": http.StatusOK, "[::1]:3000": http.StatusOK, "::1": http.StatusOK,
		"evil.example.com": http.StatusMisdirectedRequest, "10.0.0.1:3000": http.StatusMisdirectedRequest,
		"localhost.example.com": http.StatusMisdirectedRequest, "": http.StatusMisdirectedRequest,
	} {
		for _, path := range []string{"/d/platform", "/api/v1/query?query=up"} {
			response := send(t, page, http.MethodGet, host, path)
			if response.Code != want {
				t.Errorf("%s as %s: %d, want %d", path, host, response.Code, want)
			}
			policy := response.Header().Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
				t.Errorf("the policy of %s is %q", path, policy)
			}
		}
	}
	for path, want := range map[string]int{
		"/": http.StatusFound, "/d/nothing": http.StatusOK, "/api/dashboards/nothing": http.StatusNotFound,
		"/static/page.js": http.StatusOK, "/static/uplot/LICENSE": http.StatusOK, "/static/../main.go": http.StatusTemporaryRedirect,
	} {
		if got := get(t, page, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions} {
		if got := send(t, page, method, "localhost:3000", "/api/v1/query").Code; got != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d, want %d", method, got, http.StatusMethodNotAllowed)
		}
	}
}

func TestDashboardsAreServed(t *testing.T) {
	prometheus := start(t).at(t)
	for _, alertmanager := range []*url.URL{nil, prometheus} {
		page := pageOver(t, prometheus, alertmanager)
		var list struct {
			Home         string
			Alertmanager bool
			Dashboards   []struct{ UID, Title string }
		}
		if err := json.Unmarshal(get(t, page, "/api/dashboards").Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		if list.Alertmanager != (alertmanager != nil) || list.Home != dashboard.Home || list.Dashboards[0].UID != dashboard.Home {
			t.Errorf("the list is %+v", list)
		}
		for _, entry := range list.Dashboards {
			var board struct {
				UID, Title string
				Panels     []struct{}
			}
			if err := json.Unmarshal(get(t, page, "/api/dashboards/"+entry.UID).Body.Bytes(), &board); err != nil {
				t.Fatal(err)
			}
			if board.UID != entry.UID || board.Title != entry.Title || len(board.Panels) == 0 {
				t.Errorf("%+v is %+v", entry, board)
			}
		}
	}
}

func TestProxyForwardsOnlyQueries(t *testing.T) {
	prometheus := start(t)
	page := pageOver(t, prometheus.at(t), nil)
	for _, path := range []string{
		"/api/v1/query?query=up&time=1", "/api/v1/query_range?query=up%7Ba%3D%22b%22%7D&start=1&end=2&step=1",
		"/api/v1/label/job/values?match[]=up",
	} {
		response := get(t, page, path)
		body := strings.ReplaceAll(strings.TrimSpace(response.Body.String()), `\u0026`, "&")
		if response.Code != http.StatusOK || body != `"`+path+`"` {
			t.Errorf("%s: %d %s", path, response.Code, body)
		}
		for _, name := range []string{"Access-Control-Allow-Origin", "Set-Cookie"} {
			if value := response.Header().Get(name); value != "" {
				t.Errorf("%s: the response has %s: %s", path, name, value)
			}
		}
		for _, name := range []string{"Cookie", "Origin"} {
			if value := prometheus.seen.Get(name); value != "" {
				t.Errorf("%s: Prometheus receives %s: %s", path, name, value)
			}
		}
	}
	for path, want := range map[string]int{
		"/api/v1/status/config": http.StatusNotFound, "/api/v1/admin/tsdb/snapshot": http.StatusNotFound, "/-/quit": http.StatusNotFound,
		"/metrics": http.StatusNotFound, "/api/v1/query/": http.StatusNotFound, "/api/v2/alerts": http.StatusNotFound,
		"/api/v1/label/%2e%2e/values": http.StatusNotFound, "/api/v1/label/..%2f..%2fstatus%2fconfig%3f/values": http.StatusNotFound,
		"/api/v1/query?query=wrong(": http.StatusBadRequest,
	} {
		if got := get(t, page, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	page = pageOver(t, prometheus.at(t), prometheus.at(t))
	if got := get(t, page, "/api/v2/alerts").Code; got != http.StatusOK {
		t.Errorf("alerts: %d", got)
	}
}

func TestProxyAuthenticates(t *testing.T) {
	prometheus := start(t)
	at := prometheus.at(t)
	at.User = url.UserPassword("reader", "secret")
	get(t, pageOver(t, at, nil), "/api/v1/query?query=up")
	if got := prometheus.seen.Get("Authorization"); got != "Basic cmVhZGVyOnNlY3JldA==" {
		t.Errorf("Prometheus receives %q", got)
	}
}

func TestUnreachableUpstream(t *testing.T) {
	prometheus := start(t)
	at := prometheus.at(t)
	at.User = url.UserPassword("reader", "secret")
	prometheus.Close()
	page := pageOver(t, at, at)
	for path, name := range map[string]string{"/api/v1/query?query=up": "Prometheus", "/api/v2/alerts": "Alertmanager"} {
		response := get(t, page, path)
		var report struct{ Error string }
		if err := json.Unmarshal(response.Body.Bytes(), &report); err != nil {
			t.Fatal(err)
		}
		if response.Code != http.StatusBadGateway || !strings.HasPrefix(report.Error, name+" at http://reader:xxxxx@127.0.0.1:") ||
			!strings.Contains(report.Error, "doesn't respond") {
			t.Errorf("%s: %d %q", path, response.Code, report.Error)
		}
	}
}

func TestListensOnlyOnLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:3000", ":3000", "10.0.0.1:3000", "localhost", "[::]:3000"} {
		err := Run(t.Context(), []string{"-listen", address}, io.Discard, nil)
		if err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("-listen %s: %v", address, err)
		}
	}
	for _, args := range [][]string{{"-prometheus", "prometheus:9090"}, {"-alertmanager", "http://127.0.0.1:9093"}, {"up"},
		{"-prometheus", "http://127.0.0.1:9090", "-alertmanager", "file:///etc/passwd"}} {
		if err := Run(t.Context(), args, io.Discard, nil); err == nil {
			t.Errorf("the command accepts %v", args)
		}
	}
}
