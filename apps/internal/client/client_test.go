package client_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/client"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/requestid"
	"platform.example/apps/internal/servicetest"
)

const target = "user-service"

var user = identity.Caller{UserID: "0190f3a0-0000-7000-8000-000000000001", Role: identity.User}

// of returns a client of the service called user-service at a URL, and its metrics.
func of(t *testing.T, at string) (*client.Client, *prometheus.Registry) {
	t.Helper()
	base, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	return client.New(target, base, registry), registry
}

// request is a request of the user, which the gateway has signed for both services.
func request(ctx context.Context, t *testing.T) *http.Request {
	t.Helper()
	env := map[string]string{"IDENTITY_KEYS": servicetest.Env()["IDENTITY_KEYS"], "IDENTITY_AUDIENCES": "greeter-service:" + target}
	signed, err := identity.ReadSigner(config.From(func(name string) (string, bool) { v, ok := env[name]; return v, ok })).Sign(user, "greeter-service")
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Header.Set(identity.Header, signed)
	return r
}

func serving(t *testing.T, handle http.HandlerFunc) (*client.Client, *prometheus.Registry) {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return of(t, server.URL)
}

func failed(t *testing.T, err error) *problem.Error {
	t.Helper()
	p, ok := errors.AsType[*problem.Error](err)
	if !ok {
		t.Fatalf("got %v, want a problem", err)
	}
	return p
}

// calls returns the number of measured requests by class of the status.
func calls(t *testing.T, registry *prometheus.Registry) map[string]int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, family := range families {
		if family.GetName() != "service_call_duration_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["target"] != target {
				t.Errorf("measured for %v", labels)
			}
			counts[labels["status"]] = int(m.GetHistogram().GetSampleCount())
		}
	}
	return counts
}

func TestRequestCarriesIdentityToServiceOnly(t *testing.T) {
	var seen *http.Request
	var sent string
	c, registry := serving(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen, sent = r, string(body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"name":"Ada"}`)
	})
	var got struct{ Name string }
	if err := c.Get(request(t.Context(), t), "/users/1?a=b", &got); err != nil || got.Name != "Ada" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if caller := servicetest.CallerOf(t, seen, target); caller != user || seen.Method != http.MethodGet || seen.RequestURI != "/users/1?a=b" || sent != "" {
		t.Errorf("a GET is %s %s %q by %+v", seen.Method, seen.RequestURI, sent, caller)
	}
	got.Name = ""
	if err := c.Post(request(t.Context(), t), "/users", map[string]int{"n": 1}, &got); err != nil || got.Name != "Ada" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if caller := servicetest.CallerOf(t, seen, target); caller != user || seen.Method != http.MethodPost || sent != `{"n":1}` || seen.Header.Get("Content-Type") != "application/json" {
		t.Errorf("a POST is %s %q by %+v", seen.Method, sent, caller)
	}
	if err := c.Post(request(t.Context(), t), "/users", func() {}, nil); err == nil {
		t.Error("a value without a JSON form is sent")
	}
	if err := c.Get(request(t.Context(), t), "/users", nil); err != nil {
		t.Errorf("without a place for the response: %v", err)
	}
	if n := calls(t, registry); n["2xx"] != 3 || len(n) != 1 {
		t.Errorf("measured %v", n)
	}
}

// A call belongs to the trace and has the id of the request that makes it.
func TestTraceAndRequestIDArePropagated(t *testing.T) {
	var seen http.Header
	c, _ := serving(t, func(_ http.ResponseWriter, r *http.Request) { seen = r.Header })
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	incoming := httptest.NewRequest(http.MethodGet, "/", nil)
	incoming.Header.Set(requestid.Header, "abc-1")
	requestid.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := c.Get(r.WithContext(trace.ContextWithSpanContext(r.Context(), span)), "/", nil); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(httptest.NewRecorder(), incoming)
	want := "00-" + span.TraceID().String() + "-" + span.SpanID().String() + "-01"
	if seen.Get("Traceparent") != want || seen.Get(requestid.Header) != "abc-1" {
		t.Errorf("the service gets %v", seen)
	}
}

func TestRequestEndsAtDeadline(t *testing.T) {
	release := make(chan struct{})
	c, registry := serving(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if p := failed(t, c.Get(request(ctx, t), "/", nil)); p.Code != problem.Timeout || time.Since(start) > time.Second {
		t.Errorf("with a deadline: %v after %s", p, time.Since(start))
	}
	start = time.Now()
	if p := failed(t, c.Get(request(context.Background(), t), "/", nil)); p.Code != problem.Timeout || time.Since(start) < 2*time.Second || time.Since(start) > 6*time.Second {
		t.Errorf("without one: %v after %s", p, time.Since(start))
	}
	if n := calls(t, registry); n["other"] != 2 {
		t.Errorf("measured %v", n)
	}
}

// The problem of the service becomes the error.
func TestProblemIsDecoded(t *testing.T) {
	mapper := &problem.Mapper{Log: slog.New(slog.DiscardHandler)}
	responses := map[string]error{
		"/missing": problem.New(problem.NotFound, "There is no such user.", nil),
		"/invalid": problem.Faults{{Pointer: "/name", Detail: "Must have 1 to 100 characters."}}.Err(),
		"/busy":    &problem.Error{Code: problem.TooManyRequests, Sentence: "Come again.", RetryAfter: 7 * time.Second},
		"/away":    problem.New(problem.Unavailable, "The database is not available right now.", nil),
		"/fault":   errors.New("hunter2"),
	}
	c, registry := serving(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page":
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":"not_found"}`)
		case "/lie":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, `{"code":"not_found"}`)
		case "/elsewhere":
			http.Redirect(w, r, "/missing", http.StatusFound)
		case "/text":
			_, _ = io.WriteString(w, "hello")
		default:
			mapper.Write(w, r, responses[r.URL.Path])
		}
	})
	var out struct{}
	for path, want := range map[string]problem.Error{
		"/missing":   {Code: problem.NotFound, Sentence: "There is no such user."},
		"/invalid":   {Code: problem.Invalid, Sentence: "Some fields are not valid."},
		"/busy":      {Code: problem.TooManyRequests, Sentence: "Come again.", RetryAfter: 7 * time.Second},
		"/away":      {Code: problem.Unavailable, Sentence: "The database is not available right now.", RetryAfter: time.Second},
		"/fault":     {Code: problem.BadGateway, Sentence: "The service sent no valid response."},
		"/page":      {Code: problem.BadGateway, Sentence: "The service sent no valid response."},
		"/lie":       {Code: problem.BadGateway, Sentence: "The service sent no valid response."},
		"/elsewhere": {Code: problem.BadGateway, Sentence: "The service sent no valid response."},
		"/text":      {Code: problem.BadGateway, Sentence: "The service sent no valid response."},
	} {
		p := failed(t, c.Get(request(t.Context(), t), path, &out))
		if p.Code != want.Code || p.Sentence != want.Sentence || p.RetryAfter != want.RetryAfter {
			t.Errorf("%s: %+v, want %+v", path, p, want)
		}
		if path == "/invalid" && (len(p.Fields) != 1 || p.Fields[0].Pointer != "/name") {
			t.Errorf("the fields are %+v", p.Fields)
		}
	}
	if n := calls(t, registry); n["4xx"] != 5 || n["5xx"] != 2 || n["3xx"] != 1 || n["2xx"] != 1 {
		t.Errorf("measured %v", n)
	}
}

func TestResponseSizeIsLimited(t *testing.T) {
	c, _ := serving(t, func(w http.ResponseWriter, r *http.Request) {
		size := map[string]int{"/small": 1 << 10, "/large": 2 << 20}[r.URL.Path]
		_, _ = io.WriteString(w, `"`+strings.Repeat("x", size)+`"`)
	})
	var got string
	if err := c.Get(request(t.Context(), t), "/small", &got); err != nil || len(got) != 1<<10 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if p := failed(t, c.Get(request(t.Context(), t), "/large", &got)); p.Code != problem.BadGateway {
		t.Errorf("a large response: %v", p)
	}
}

func TestUnavailableService(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	c, _ := of(t, "http://"+listener.Addr().String())
	if p := failed(t, c.Get(request(t.Context(), t), "/", nil)); p.Code != problem.Unavailable {
		t.Errorf("got %v", p)
	}
}

// After some failures, requests to a service that doesn't respond fail at once. A second later one request tries again.
func TestUnresponsiveServiceIsNotCalled(t *testing.T) {
	var requests atomic.Int64
	var hangs atomic.Bool
	c, _ := serving(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch {
		case hangs.Load():
			<-r.Context().Done()
		case r.URL.Path != "/":
			(&problem.Mapper{Log: slog.New(slog.DiscardHandler)}).Write(w, r, problem.New(problem.Code(r.URL.Path[1:]), "No.", nil))
		}
	})
	get := func(path string) (code problem.Code, taken time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := c.Get(request(ctx, t), path, nil); err != nil {
			code = failed(t, err).Code
		}
		return code, time.Since(start)
	}
	for range 10 { // responses of a service that works, or that handles its own outage
		for _, code := range []problem.Code{problem.NotFound, problem.Unavailable, problem.TooManyRequests} {
			if got, _ := get("/" + string(code)); got != code {
				t.Errorf("%s is %s", code, got)
			}
		}
	}
	hangs.Store(true)
	for range 10 { // requests whose callers leave
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		_ = c.Get(request(ctx, t), "/", nil)
	}
	requests.Store(0)
	var slow, fast time.Duration
	for i := range 50 {
		code, taken := get("/")
		switch {
		case i < 5 && code == problem.Timeout:
			slow += taken
		case i >= 5 && code == problem.Unavailable:
			fast += taken
		default:
			t.Errorf("request %d: %s", i+1, code)
		}
	}
	if n := requests.Load(); n != 5 || fast > slow/10 {
		t.Errorf("the service gets %d requests, want 5; the others take %s in total, and these %s", n, fast, slow)
	}
	hangs.Store(false)
	backingtest.Eventually(t, 10*time.Second, func() error {
		if code, _ := get("/"); code != "" {
			return errors.New(string(code))
		}
		return nil
	})
	for range 10 {
		if code, _ := get("/"); code != "" {
			t.Errorf("after the outage: %s", code)
		}
	}
}

// Idle connections to a colour that is no longer live are closed.
func TestConnectionsToColourThatIsNotLiveAreClosed(t *testing.T) {
	var opened, closed atomic.Int64
	var lost atomic.Bool
	meet := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/both" { // responds when two requests are in flight, each on its own connection
			select {
			case meet <- struct{}{}:
			case <-meet:
			}
		}
		if lost.Load() {
			w.Header().Set(live.Header, live.Lost)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c, _ := of(t, server.URL)
	get := func(path string) {
		t.Helper()
		if err := c.Get(request(t.Context(), t), path, nil); err != nil {
			t.Error(err)
		}
	}
	var both sync.WaitGroup
	both.Go(func() { get("/both") })
	both.Go(func() { get("/both") })
	both.Wait()
	get("/")
	if o, c := opened.Load(), closed.Load(); o != 2 || c != 0 {
		t.Fatalf("%d connections are opened and %d closed, want 2 and 0", o, c)
	}
	lost.Store(true)
	start := time.Now()
	get("/") // on one of them
	backingtest.Eventually(t, 5*time.Second, func() error {
		if closed.Load() == 0 {
			return errors.New("the idle connection is still open")
		}
		return nil
	})
	if taken := time.Since(start); taken > 300*time.Millisecond { // less than the idle timeout
		t.Errorf("the idle connection is closed after %s", taken)
	}
}
