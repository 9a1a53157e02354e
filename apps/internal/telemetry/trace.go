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
