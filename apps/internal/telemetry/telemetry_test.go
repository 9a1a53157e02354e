package telemetry

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/requestid"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// serve handles one request for /users/7 with the middleware. It returns the log, the headers for a called service, and
// the observed request.
func serve(t *testing.T, service config.Service) (log map[string]any, called http.Header, observed Request) {
	t.Helper()
	var out strings.Builder
	tel, err := Start(t.Context(), service, &out)
	if err != nil {
		t.Fatal(err)
	}
	called = http.Header{}
	router := chi.NewRouter()
	router.Use(requestid.Middleware, tel.Middleware(func(r Request) { observed = r }))
	router.Get("/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		Propagate(r.Context(), propagation.HeaderCarrier(called))
		w.WriteHeader(http.StatusTeapot)
	})
	request := httptest.NewRequest(http.MethodGet, "/users/7?email=ada@example.com", nil)
	request.Header.Set("traceparent", parent)
	request.Header.Set(requestid.Header, "forged\nline")
	router.ServeHTTP(httptest.NewRecorder(), request)
	if err := tel.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out.String()), &log); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return log, called, observed
}

func TestRequestIsLoggedAndPropagatedWithItsIDs(t *testing.T) {
	log, called, observed := serve(t, config.Service{Name: "a-service"})
	if observed.Pattern != "/users/{id}" || observed.Status != http.StatusTeapot || observed.Method != http.MethodGet {
		t.Errorf("observed %+v", observed)
	}
	if log["endpoint"] != "/users/{id}" || log["trace_id"] != parent[3:35] || log["request_id"] == "" ||
		strings.Contains(log["request_id"].(string), "forged") {
		t.Errorf("logged %v", log)
	}
	if got := called.Get("traceparent"); !strings.HasPrefix(got, parent[:36]) || got == parent {
		t.Errorf("the called service gets %s", got)
	}
	if called.Get(requestid.Header) != log["request_id"] {
		t.Errorf("the called service gets request id %s, the log has %s", called.Get(requestid.Header), log["request_id"])
	}
}

func TestSpansAreExportedIfEndpointIsSet(t *testing.T) {
	received := make(chan *tracepb.TracesData, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		data := &tracepb.TracesData{}
		if err := proto.Unmarshal(body, data); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		received <- data
	}))
	defer collector.Close()
	endpoint, err := url.Parse(collector.URL)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, config.Service{Name: "a-service", OTLPEndpoint: endpoint})
	span := (<-received).ResourceSpans[0].ScopeSpans[0].Spans[0]
	if span.Name != "GET /users/{id}" {
		t.Errorf("the span is called %s", span.Name)
	}
}

// A client determines neither the sampling nor the trace of its request.
func TestEdgeIgnoresSamplingOfClients(t *testing.T) {
	const parentID = "0af7651916cd43dd8448eb211c80319c"
	for _, c := range []struct {
		name           string
		sampler        sdktrace.Sampler
		sent, recorded string // flags
	}{
		{"the client requests sampling", sdktrace.NeverSample(), "01", "00"},
		{"the client requests no sampling", sdktrace.AlwaysSample(), "00", "01"},
	} {
		t.Run(c.name, func(t *testing.T) {
			recorder := tracetest.NewSpanRecorder()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(c.sampler)), sdktrace.WithSpanProcessor(recorder))
			tel, err := Start(t.Context(), config.Service{Name: "a-service"}, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			tel.Edge, tel.tracer = true, provider.Tracer("")
			called := http.Header{}
			edge := tel.Middleware(func(Request) {})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				Propagate(r.Context(), propagation.HeaderCarrier(called))
			}))
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.Header.Set("traceparent", "00-"+parentID+"-b7ad6b7169203331-"+c.sent)
			request.Header.Set("tracestate", "theirs=1")
			edge.ServeHTTP(httptest.NewRecorder(), request)
			if got := called.Get("traceparent"); !strings.HasSuffix(got, "-"+c.recorded) || strings.Contains(got, parentID) || called.Get("tracestate") != "" {
				t.Errorf("the called service gets %q and %q", got, called.Get("tracestate"))
			}
			for _, span := range recorder.Ended() {
				if links := span.Links(); len(links) != 1 || links[0].SpanContext.TraceID().String() != parentID {
					t.Errorf("the span is linked to %v", links)
				}
			}
		})
	}
}

// The time of the last response shows when a colour got its last request of a client. Requests of a verification don't
// count.
func TestTimeOfLastResponse(t *testing.T) {
	tel, err := Start(t.Context(), config.Service{Name: "a-service"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	api := tel.Middleware(func(Request) {})(http.NotFoundHandler())
	last := func() float64 {
		t.Helper()
		response := httptest.NewRecorder()
		tel.MetricsHandler().ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		_, rest, _ := strings.Cut(response.Body.String(), "\nservice_last_answer_timestamp_seconds ")
		value, _, _ := strings.Cut(rest, "\n")
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		return seconds
	}
	ask := func(verification string) {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Header.Set(VerificationHeader, verification)
		api.ServeHTTP(httptest.NewRecorder(), request)
	}
	if got := last(); got != 0 {
		t.Errorf("before the first: %v", got)
	}
	ask("true")
	if got := last(); got != 0 {
		t.Errorf("after a verification: %v", got)
	}
	before := time.Now()
	ask("")
	if got, now := last(), time.Now(); got < float64(before.UnixMilli())/1e3-0.001 || got > float64(now.UnixMilli())/1e3+0.001 {
		t.Errorf("got %v, want a time between %s and %s", got, before, now)
	}
}

// The log contains the address of a refused client only.
func TestLogContainsClientOfRefusedRequest(t *testing.T) {
	for status, named := range map[int]bool{200: false, 401: true, 403: true, 404: false, 429: true, 503: false} {
		var out strings.Builder
		tel, err := Start(t.Context(), config.Service{Name: "a-service"}, &out)
		if err != nil {
			t.Fatal(err)
		}
		tel.Client = func(*http.Request) string { return "192.0.2.7" }
		response := tel.Middleware(func(Request) {})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		request := httptest.NewRequest(http.MethodGet, "/?token=secret", nil)
		request.Header.Set("Authorization", "Bearer secret")
		response.ServeHTTP(httptest.NewRecorder(), request)
		if err := tel.Stop(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); strings.Contains(got, `"client":"192.0.2.7"`) != named || strings.Contains(got, "secret") {
			t.Errorf("%d: %s", status, got)
		}
	}
}

func TestBuildInfoMetrics(t *testing.T) {
	tel, err := Start(t.Context(), config.Service{Name: "a-service"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	response := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(response.Body.String(), "\ngo_build_info{") {
		t.Error("/metrics lacks go_build_info")
	}
}

func TestStatusClass(t *testing.T) {
	for status, want := range map[int]string{101: "1xx", 200: "2xx", 304: "3xx", 499: "4xx", 503: "5xx", 999: "other"} {
		if got := (Request{Status: status}).Class(); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}
