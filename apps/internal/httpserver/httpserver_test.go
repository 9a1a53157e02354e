package httpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/health"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/telemetry"
)

// running is a running server with the real routers.
type running struct {
	api, ops string
	stop     context.CancelFunc
	ended    chan error
}

func run(t *testing.T, delay time.Duration, prepare func(*Server), routes map[string]http.HandlerFunc) running {
	t.Helper()
	service := config.Service{
		Name: "a-service", Version: "0123456789ab", Colour: "green",
		HTTPAddr: "127.0.0.1:0", OpsAddr: "127.0.0.1:0", ShutdownDelay: delay,
	}
	tel, err := telemetry.Start(t.Context(), service, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	state := health.New(service, log)
	router := NewAPI(tel, state, &problem.Mapper{Log: log}, telemetry.RequestMetrics(tel.Registry, "a_service", "a_service_errors_total", "endpoint", func(r telemetry.Request) string { return r.Pattern }))
	for path, handle := range routes {
		router.HandleFunc(path, handle)
	}
	colour := live.NewSwitch(nil, service, log, tel.Registry)
	s, err := Listen(service, log, state, colour, router, NewOps(tel, state, nil))
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := running{
		api: "http://" + s.apiListener.Addr().String(), ops: "http://" + s.opsListener.Addr().String(),
		stop: stop, ended: make(chan error, 1),
	}
	go func() { r.ended <- s.Run(ctx) }()
	t.Cleanup(stop)
	return r
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestOldConnectionIsClosedAfterResponse(t *testing.T) {
	for _, c := range []struct {
		name   string
		maxAge time.Duration
		closes bool
	}{{"young", time.Hour, false}, {"old", 0, true}} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, 0, func(s *Server) { s.maxAge = c.maxAge }, nil)
			if response := get(t, r.api+"/health"); response.Close != c.closes || response.StatusCode != http.StatusOK {
				t.Errorf("got %d, Connection: close is %t", response.StatusCode, response.Close)
			}
		})
	}
}

// While another colour is live, each response closes its connection and has the header X-Colour-Live.
func TestColourThatIsNotLiveClosesConnections(t *testing.T) {
	var selected atomic.Value
	selected.Store("green")
	name := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"colour":%q}`, selected.Load())
	}))
	t.Cleanup(name.Close)
	at, err := url.Parse(name.URL)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	colour := live.NewSwitch(at, config.Service{Colour: "green"}, log, prometheus.NewRegistry())
	r := run(t, 0, func(s *Server) { s.colour = colour }, map[string]http.HandlerFunc{
		"/users": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
	})
	for _, path := range []string{"/users", "/health"} {
		if response := get(t, r.api+path); response.Close || response.Header.Get("X-Colour-Live") != "" {
			t.Errorf("%s, before the live colour is known: %v", path, response.Header)
		}
	}
	go colour.Watch(t.Context())
	for _, c := range []struct {
		selected, header string
		closes           bool
	}{{"green", "", false}, {"blue", "false", true}, {"green", "", false}} {
		selected.Store(c.selected)
		backingtest.Eventually(t, 10*time.Second, func() error {
			if colour.Lost() != c.closes {
				return errors.New("the switch hasn't changed")
			}
			return nil
		})
		for _, path := range []string{"/users", "/health"} {
			if response := get(t, r.api+path); response.Close != c.closes || response.Header.Get("X-Colour-Live") != c.header {
				t.Errorf("%s, %s is live: closes is %t, %v", path, c.selected, response.Close, response.Header)
			}
		}
		if response := get(t, r.ops+"/readyz"); response.Close || response.StatusCode != http.StatusOK {
			t.Errorf("a connection of the platform is closed, too: %d", response.StatusCode)
		}
	}
}

func TestEveryResponseHasServerTiming(t *testing.T) {
	r := run(t, 0, nil, map[string]http.HandlerFunc{
		"/panic": func(http.ResponseWriter, *http.Request) { panic("no") },
		"/more":  func(w http.ResponseWriter, _ *http.Request) { w.Header().Add("Server-Timing", "db") },
	})
	const self = `a-service;desc="green 0123456789ab"`
	for path, want := range map[string]string{"/health": self, "/nothing": self, "/panic": self, "/more": self + ", db"} {
		for range 2 { // one response doesn't change the next
			if got := strings.Join(get(t, r.api+path).Header.Values("Server-Timing"), ", "); got != want {
				t.Errorf("%s: got %q, want %q", path, got, want)
			}
		}
	}
}

func TestStopLosesNoRequest(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	r := run(t, 300*time.Millisecond, nil, map[string]http.HandlerFunc{
		"/slow": func(w http.ResponseWriter, _ *http.Request) {
			close(started)
			<-finish
			_, _ = io.WriteString(w, "whole")
		},
	})
	received := make(chan string, 1)
	go func() {
		response, err := http.Get(r.api + "/slow")
		if err != nil {
			received <- err.Error()
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		received <- string(body)
	}()
	<-started
	r.stop()

	// It reports that it is draining, and still responds.
	backingtest.Eventually(t, time.Second, func() error {
		response := get(t, r.ops+"/readyz")
		if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK || !strings.Contains(string(body), "draining") {
			return fmt.Errorf("the response is %d %s", response.StatusCode, body)
		}
		return nil
	})
	if response := get(t, r.api+"/health"); !response.Close {
		t.Error("a response while draining doesn't close the connection")
	}
	backingtest.Eventually(t, 5*time.Second, func() error {
		connection, err := net.Dial("tcp", strings.TrimPrefix(r.api, "http://"))
		if err == nil {
			_ = connection.Close()
			return errors.New("new connections are still accepted")
		}
		return nil
	})
	close(finish)
	if got := <-received; got != "whole" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// A stopping replica that still receives requests is the only one that can respond.
func TestStopWaitsWhileRequestsArrive(t *testing.T) {
	const delay = 200 * time.Millisecond
	r := run(t, delay, nil, map[string]http.HandlerFunc{"/users": func(http.ResponseWriter, *http.Request) {}})
	r.stop()
	for start := time.Now(); time.Since(start) < 2*delay; time.Sleep(delay / 20) {
		if response := get(t, r.api+"/users"); response.StatusCode != http.StatusOK {
			t.Fatalf("it responds with %s", response.Status)
		}
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

func TestPanicBecomesInternalError(t *testing.T) {
	r := run(t, 0, nil, map[string]http.HandlerFunc{
		"/early": func(http.ResponseWriter, *http.Request) { panic("the password is hunter2") },
		"/late": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			panic("too late")
		},
	})
	response := get(t, r.api+"/early")
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusInternalServerError || strings.Contains(string(body), "hunter2") {
		t.Errorf("got %d %s", response.StatusCode, body)
	}
	if late, err := http.Get(r.api + "/late"); err == nil {
		_, err = io.ReadAll(late.Body)
		_ = late.Body.Close()
		if err == nil {
			t.Error("half a response is taken for a complete one")
		}
	}
	if again := get(t, r.api+"/health"); again.StatusCode != http.StatusOK {
		t.Errorf("after a panic: %d", again.StatusCode)
	}
}

func TestLimits(t *testing.T) {
	r := run(t, 0, nil, map[string]http.HandlerFunc{
		"/body": func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprint(w, n, " ", err)
		},
	})
	t.Run("a chunked body stops at the limit", func(t *testing.T) {
		response, err := http.Post(r.api+"/body", "text/plain", io.LimitReader(endless{}, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if body, _ := io.ReadAll(response.Body); string(body) != "65536 http: request body too large" {
			t.Errorf("got %s", body)
		}
	})
	t.Run("large headers are refused", func(t *testing.T) {
		request, _ := http.NewRequest(http.MethodGet, r.api+"/health", nil)
		request.Header.Set("X-Large", strings.Repeat("a", 2*maxHeaderBytes))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("got %d", response.StatusCode)
		}
	})
	t.Run("a 405 lists the allowed methods", func(t *testing.T) {
		response, err := http.Post(r.api+"/health", "text/plain", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("got %d, Allow: %s", response.StatusCode, response.Header.Get("Allow"))
		}
	})
}

func TestHeadWorksWhereverGetDoes(t *testing.T) {
	r := run(t, 0, nil, map[string]http.HandlerFunc{"/users": func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "users")
	}})
	for _, url := range []string{r.api + "/health", r.api + "/users", r.api + "/nothing", r.ops + "/livez", r.ops + "/readyz", r.ops + "/metrics"} {
		want := get(t, url)
		response, err := http.Head(url)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want.StatusCode || len(body) > 0 || response.Header.Get("Content-Type") != want.Header.Get("Content-Type") {
			t.Errorf("HEAD %s: %s with %d bytes, %v, GET: %s", url, response.Status, len(body), response.Header, want.Status)
		}
	}
}

// Profiles reveal much and cost much: only the platform may read them.
func TestProfilesAreOnTheOpsPortOnly(t *testing.T) {
	r := run(t, 0, nil, nil)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/symbol",
		"/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=0.1"} {
		if got := get(t, r.ops+path).StatusCode; got != http.StatusOK {
			t.Errorf("%s on the ops port: %d", path, got)
		}
		if got := get(t, r.api+path).StatusCode; got != http.StatusNotFound {
			t.Errorf("%s on the API's port: %d", path, got)
		}
	}
	if got := get(t, r.ops+"/debug/pprof/nothing").StatusCode; got != http.StatusNotFound {
		t.Errorf("an unknown profile: %d", got)
	}
}

func TestRequestsRefusedBeforeHandler(t *testing.T) {
	r := run(t, 0, nil, map[string]http.HandlerFunc{"/users": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }})
	for _, c := range []struct {
		method, path, body, encoding string
		status                       int
	}{
		{"GET", "/users?limit=1&after=%2F+", "", "", http.StatusTeapot},
		{"GET", "/users?limit=1;x=1", "", "", http.StatusBadRequest},
		{"GET", "/users?limit=1&after=%ZZ", "", "", http.StatusBadRequest},
		{"GET", "/users?%", "", "", http.StatusBadRequest},
		{"POST", "/users?a=%", "{}", "", http.StatusBadRequest},
		{"GET", "/nothing?a=%", "", "", http.StatusBadRequest},
		{"GET", "/health?a=%", "", "", http.StatusBadRequest},
		{"POST", "/users", "{}", "gzip", http.StatusUnsupportedMediaType},
		{"POST", "/users", "{}", "identity, br", http.StatusUnsupportedMediaType},
		{"DELETE", "/users", "{}", "x", http.StatusUnsupportedMediaType},
		{"POST", "/users", "{}", "Identity", http.StatusTeapot},
		{"GET", "/users", "", "gzip", http.StatusTeapot},
	} {
		request, err := http.NewRequest(c.method, r.api+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.encoding != "" {
			request.Header.Set("Content-Encoding", c.encoding)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		isProblem := response.Header.Get("Content-Type") == "application/problem+json"
		if response.StatusCode != c.status || isProblem != (c.status != http.StatusTeapot) ||
			(response.Header.Get("Accept-Encoding") == "identity") != (c.status == http.StatusUnsupportedMediaType) {
			t.Errorf("%+v: %s, %v", c, response.Status, response.Header)
		}
	}
}

// Every part of an accepted query reaches the handler.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "limit=1&after=%2F", "limit=1;x=1", "a=%ZZ", "%", "a&&b=", "=", "a=b=c", "a+b=%00"} {
		f.Add(seed)
	}
	api := wellFormed(&problem.Mapper{Log: slog.New(slog.DiscardHandler)})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		values := 0
		for _, named := range r.URL.Query() {
			values += len(named)
		}
		parts := strings.FieldsFunc(r.URL.RawQuery, func(c rune) bool { return c == '&' })
		if values != len(parts) {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	f.Fuzz(func(t *testing.T, query string) {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.URL.RawQuery = query
		response := httptest.NewRecorder()
		api.ServeHTTP(response, request)
		if response.Code != http.StatusOK && response.Code != http.StatusBadRequest {
			t.Errorf("%q: parts are lost", query)
		}
	})
}

// endless is a body without an end; LimitReader hides its length, so it is sent chunked.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestErrorNamesAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, err = Listen(config.Service{HTTPAddr: "127.0.0.1:0", OpsAddr: taken.Addr().String()}, slog.New(slog.DiscardHandler), nil, nil, nil, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "OPS_ADDR: ") {
		t.Errorf("got %v", err)
	}
}
