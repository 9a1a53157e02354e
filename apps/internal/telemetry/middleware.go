package telemetry

import (
	"cmp"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// VerificationHeader has the value true in requests that verify a colour before it becomes live. They come
// from no client.
const VerificationHeader = "X-Verification"

// Request describes a request after its response.
type Request struct {
	Method   string
	Pattern  string // the router's pattern, never the raw path: paths are unbounded and contain user ids
	Status   int
	Duration time.Duration
}

// Failed reports whether the service, not the client, is at fault.
func (r Request) Failed() bool { return r.Status >= http.StatusInternalServerError }

// refused reports whether the client has no permission, or has sent too many requests.
func (r Request) refused() bool {
	return r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden || r.Status == http.StatusTooManyRequests
}

// Class returns the class of the status, such as 4xx, or other.
func (r Request) Class() string {
	classes := [...]string{1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
	if class := r.Status / 100; class > 0 && class < len(classes) {
		return classes[class]
	}
	return "other"
}

// Middleware traces and logs every request, and passes it to observe.
func (t *Telemetry) Middleware(observe func(Request)) func(http.Handler) http.Handler {
	server := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	if t.Edge {
		server = append(server, trace.WithNewRoot())
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
			options := server
			if t.Edge && trace.SpanContextFromContext(ctx).IsValid() {
				options = append(slices.Clip(server), trace.WithLinks(trace.LinkFromContext(ctx)))
			}
			ctx, span := t.tracer.Start(ctx, r.Method, options...)
			r = r.WithContext(ctx)
			response := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
			// Deferred because a handler may panic to abort the connection.
			defer func() {
				done := Request{
					Method: method(r.Method), Pattern: pattern(r),
					Status: cmp.Or(response.Status(), http.StatusOK), Duration: time.Since(start),
				}
				if r.Header.Get(VerificationHeader) != "true" {
					t.lastResponse.Store(start.Add(done.Duration).UnixNano())
				}
				observe(done)
				end(span, done)
				log := t.Log
				if t.Client != nil && done.refused() {
					log = log.With("client", t.Client(r))
				}
				log.LogAttrs(ctx, slog.LevelInfo, "request",
					slog.String("method", done.Method), slog.String("endpoint", done.Pattern),
					slog.Int("status", done.Status), slog.Duration("duration", done.Duration))
			}()
			next.ServeHTTP(response, r)
		})
	}
}

func end(span trace.Span, done Request) {
	if span.IsRecording() {
		span.SetName(done.Method + " " + done.Pattern)
		span.SetAttributes(
			attribute.String("http.request.method", done.Method),
			attribute.String("http.route", done.Pattern),
			attribute.Int("http.response.status_code", done.Status))
		if done.Failed() {
			span.SetStatus(codes.Error, "")
		}
	}
	span.End()
}

// method returns the method, or "other" for an unknown one: clients can't create label values.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
		http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

func pattern(r *http.Request) string {
	if route := chi.RouteContext(r.Context()); route != nil {
		if p := route.RoutePattern(); p != "" {
			return p
		}
	}
	return "unmatched"
}

// durationBuckets are bucket bounds in seconds, from a cached read to beyond the gateway's deadline of 5 s.
var durationBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// RequestMetrics registers the request metrics of a service, by method and by label, and returns a function that
// records a request. Status 0 means a possible request: its series begin at zero, because a rate doesn't count the
// first sample of a series. prefix is the beginning of their names, failed the whole name of the failures; of
// returns the value of label.
func RequestMetrics(registry prometheus.Registerer, prefix, failed, label string, of func(Request) string) func(Request) {
	auto, labels := promauto.With(registry), []string{"method", label}
	requests := auto.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "_requests_total", Help: "Requests, by the class of the status.",
	}, []string{"method", label, "status"})
	failures := auto.NewCounterVec(prometheus.CounterOpts{Name: failed, Help: "Requests with a 5xx status."}, labels)
	durations := auto.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "_request_duration_seconds", Help: "Time from a request to its response.", Buckets: durationBuckets,
	}, labels)
	return func(r Request) {
		value := of(r)
		if r.Status == 0 {
			for _, class := range []string{"2xx", "4xx", "5xx"} {
				requests.WithLabelValues(r.Method, value, class)
			}
			durations.WithLabelValues(r.Method, value)
			failures.WithLabelValues(r.Method, value)
			return
		}
		requests.WithLabelValues(r.Method, value, r.Class()).Inc()
		durations.WithLabelValues(r.Method, value).Observe(r.Duration.Seconds())
		if r.Failed() {
			failures.WithLabelValues(r.Method, value).Inc()
		}
	}
}

// CallMetrics registers the metrics of requests to a service, and returns a function that records one. Status
// 0 means no response.
func CallMetrics(registry prometheus.Registerer, service string) func(Request) {
	durations := promauto.With(registry).NewHistogramVec(prometheus.HistogramOpts{
		Name: "service_call_duration_seconds", Help: "Time of a request to another service, by the class of the status; other: no response.",
		ConstLabels: prometheus.Labels{"target": service}, Buckets: durationBuckets,
	}, []string{"status"})
	return func(r Request) { durations.WithLabelValues(r.Class()).Observe(r.Duration.Seconds()) }
}

// MetricsHandler serves GET /metrics.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{Registry: t.Registry})
}
