package telemetry

import (
	"context"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/requestid"
)

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
