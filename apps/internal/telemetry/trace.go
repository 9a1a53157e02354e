package telemetry

import (
	"context"
	"net/http"
	"time"

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

// exportTimeout bounds one export. One that fails is dropped and said so:
// traces are samples, and requests must never wait for them.
const exportTimeout = 3 * time.Second

// newTracerProvider returns a provider that always makes trace ids, because
// logs name them, but records spans only where they can be exported to.
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

// Finish ends a span, which has failed if there is an error.
func Finish(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Propagate tells the service that is called with these headers which trace
// and which request the call belongs to.
func Propagate(ctx context.Context, headers propagation.TextMapCarrier) {
	propagation.TraceContext{}.Inject(ctx, headers)
	headers.Set(requestid.Header, requestid.From(ctx))
}
