// Package telemetry provides JSON logs, metrics in a separate registry, and traces with W3C trace context.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/requestid"
)

// flushBudget is how long the export of the remaining spans may delay the stop.
const flushBudget = 3 * time.Second

// Telemetry holds the log, the metrics and the traces of one process.
type Telemetry struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	// Edge is set before Middleware is used if requests come from outside the platform: their trace context
	// then doesn't decide what is sampled.
	Edge bool
	// Client returns the client's address, which the log of a refused request contains. It is set before
	// Middleware is used; may be nil.
	Client func(*http.Request) string
	// Spans creates the spans of work for a request; nil if traces aren't exported.
	Spans trace.TracerProvider

	lines        *buffer
	provider     *sdktrace.TracerProvider
	tracer       trace.Tracer
	lastResponse atomic.Int64 // Unix time in ns; 0 before the first
}

// Start starts telemetry and writes logs to out. It exports traces only if service has an OTLPEndpoint.
func Start(ctx context.Context, service config.Service, out io.Writer) (*Telemetry, error) {
	lines := newBuffer(out)
	log := newLogger(lines, lines.flush, service)
	otel.SetLogger(logr.Discard()) // the SDK's own log contains variables, such as headers with a token
	provider, err := newTracerProvider(ctx, service)
	if err != nil {
		return nil, fmt.Errorf("starting traces: %w", err)
	}
	// The only place where the SDK reports failed exports.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("traces are not exported", "cause", err)
	}))

	registry := prometheus.NewRegistry()
	auto := promauto.With(registry)
	auto.NewGauge(prometheus.GaugeOpts{
		Name: "service_info", Help: "Always 1; the labels name the release.",
		ConstLabels: prometheus.Labels{
			"service": service.Name, "version": service.Version, "colour": service.Colour,
		},
	}).Set(1)
	t := &Telemetry{
		Log: log, Registry: registry,
		lines: lines, provider: provider, tracer: provider.Tracer(service.Name),
	}
	if service.OTLPEndpoint != nil {
		t.Spans = provider
	}
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "service_last_answer_timestamp_seconds",
		Help: "Unix time of the API's last response, except to /health and to a verification; 0 before the first.",
	}, func() float64 { return time.Duration(t.lastResponse.Load()).Seconds() })
	registry.MustRegister(collectors.NewBuildInfoCollector(), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return t, nil
}

// Stop writes the buffered log lines and exports the remaining spans.
func (t *Telemetry) Stop() error {
	defer t.lines.flush()
	ctx, cancel := context.WithTimeout(context.Background(), flushBudget)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("flushing traces: %w", err)
	}
	return nil
}

// exportTimeout limits one export. A failed export is logged and dropped: requests must never wait for
// traces.
const exportTimeout = 3 * time.Second

// newTracerProvider returns a provider that always creates trace ids, which logs contain, but records spans
// only if they can be exported.
func newTracerProvider(ctx context.Context, service config.Service) (*sdktrace.TracerProvider, error) {
	if service.OTLPEndpoint == nil {
		return sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())), nil
	}
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(service.OTLPEndpoint.JoinPath("v1", "traces").String()), // the OTLP specification fixes the path
		otlptracehttp.WithHTTPClient(&http.Client{Timeout: exportTimeout, Transport: &http.Transport{}}),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}))
	if err != nil {
		return nil, err
	}
	return sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", service.Name),
			attribute.String("service.version", service.Version),
			attribute.String("deployment.environment.name", service.Environment),
			attribute.String("service.colour", service.Colour),
		)),
	), nil
}

// Finish ends a span, and marks it as failed if err isn't nil.
func Finish(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Propagate adds the trace context and the request id of ctx to the headers of a request.
func Propagate(ctx context.Context, headers propagation.TextMapCarrier) {
	propagation.TraceContext{}.Inject(ctx, headers)
	headers.Set(requestid.Header, requestid.From(ctx))
}

// NewLogger returns a logger that writes JSON lines with the service, version and colour, and with the ids of
// the request if the context has one.
func NewLogger(out io.Writer, service config.Service) *slog.Logger {
	return newLogger(out, func() {}, service)
}

func newLogger(out io.Writer, flush func(), service config.Service) *slog.Logger {
	handler := slog.NewJSONHandler(out, &slog.HandlerOptions{Level: service.LogLevel})
	return slog.New(requestHandler{handler, flush}).With(
		"service", service.Name, "version", service.Version, "colour", service.Colour)
}

// requestHandler adds the ids of the request to each record, and flushes the buffer after warnings and
// errors.
type requestHandler struct {
	slog.Handler
	flush func()
}

func (h requestHandler) Handle(ctx context.Context, record slog.Record) error {
	if id := requestid.From(ctx); id != "" {
		record.AddAttrs(slog.String("request_id", id))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	err := h.Handler.Handle(ctx, record)
	if record.Level >= slog.LevelWarn {
		h.flush()
	}
	return err
}

func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs), h.flush}
}

func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name), h.flush}
}

const (
	// flushAfter limits how long a line waits, and so the loss if the process is killed. Writing each line
	// separately costs a system call per request, a large part of the cost of a cached read.
	flushAfter  = 100 * time.Millisecond
	bufferBytes = 16 << 10
)

// buffer collects lines and writes them together, after flushAfter or when it is full.
type buffer struct {
	mu    sync.Mutex
	out   io.Writer
	lines []byte
	timer *time.Timer // runs while there are lines
}

func newBuffer(out io.Writer) *buffer {
	b := &buffer{out: out, lines: make([]byte, 0, bufferBytes)}
	b.timer = time.AfterFunc(flushAfter, b.flush)
	return b
}

// Write buffers a complete line. It never fails: there is no way to report a failed log.
func (b *buffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines)+len(line) > bufferBytes {
		b.write()
	}
	if len(b.lines) == 0 {
		b.timer.Reset(flushAfter)
	}
	b.lines = append(b.lines, line...)
	return len(line), nil
}

// flush writes the buffered lines.
func (b *buffer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.write()
}

func (b *buffer) write() {
	if len(b.lines) > 0 {
		_, _ = b.out.Write(b.lines)
		b.lines = b.lines[:0]
	}
}
