// Package telemetry is what a service tells its operators: JSON logs, metrics
// in a registry of its own, and W3C trace context.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"platform.example/apps/internal/config"
)

// flushBudget is how long spans that aren't exported yet may hold up the stop.
const flushBudget = 3 * time.Second

// Telemetry is the log, the metrics and the traces of one process.
type Telemetry struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	// Edge is set, before Middleware is used, where requests come from outside of
	// the platform: their trace context doesn't decide what is sampled.
	Edge bool
	// Client is set, before Middleware is used, where the log is to say whose requests
	// were refused: it returns the client's address. nil: the log doesn't.
	Client func(*http.Request) string
	// Spans makes the spans of what is done for a request; nil where traces aren't exported.
	Spans trace.TracerProvider

	lines      *buffer
	provider   *sdktrace.TracerProvider
	tracer     trace.Tracer
	lastAnswer atomic.Int64 // Unix time in ns; 0 before the first
}

// Start begins telemetry; logs go to out. Traces are exported only where the
// service is configured with an endpoint.
func Start(ctx context.Context, service config.Service, out io.Writer) (*Telemetry, error) {
	lines := newBuffer(out)
	log := newLogger(lines, lines.flush, service)
	otel.SetLogger(logr.Discard()) // the SDK's own log quotes variables, such as headers with a token
	provider, err := newTracerProvider(ctx, service)
	if err != nil {
		return nil, fmt.Errorf("starting traces: %w", err)
	}
	// The SDK reports failed exports nowhere but here.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("traces are not exported", "cause", err)
	}))

	registry := prometheus.NewRegistry()
	auto := promauto.With(registry)
	auto.NewGauge(prometheus.GaugeOpts{
		Name: "service_info", Help: "Always 1; the labels say what runs.",
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
		Help: "Unix time of the last answer of the API but for those to /health and to a verification; 0 before the first.",
	}, func() float64 { return time.Duration(t.lastAnswer.Load()).Seconds() })
	registry.MustRegister(collectors.NewBuildInfoCollector(), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return t, nil
}

// Stop writes and exports what is still held.
func (t *Telemetry) Stop() error {
	defer t.lines.flush()
	ctx, cancel := context.WithTimeout(context.Background(), flushBudget)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("flushing traces: %w", err)
	}
	return nil
}
