package redis

import (
	"context"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// inner makes spans inside of others only: each poll of a stream would otherwise
// be a trace of its own.
type inner struct{ trace.TracerProvider }

func (p inner) Tracer(name string, options ...trace.TracerOption) trace.Tracer {
	return innerTracer{p.TracerProvider.Tracer(name, options...)}
}

type innerTracer struct{ trace.Tracer }

func (t innerTracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, noop.Span{}
	}
	return t.Tracer.Start(ctx, name, options...)
}
