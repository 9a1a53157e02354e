package telemetry

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

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

const (
	// flushAfter limits how long a line waits, and so the loss if the process is killed. Writing each line
	// separately costs a system call per request, a large part of the cost of a cached read.
	flushAfter  = 100 * time.Millisecond
	bufferBytes = 16 << 10
)

// buffer collects lines and writes them together, after flushAfter or when it is full.
type buffer struct {
	mu        sync.Mutex
	out       io.Writer
	lines     []byte
	timer     *time.Timer
	scheduled bool
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
	b.lines = append(b.lines, line...)
	if !b.scheduled {
		b.scheduled = true
		b.timer.Reset(flushAfter)
	}
	return len(line), nil
}

// flush writes the buffered lines.
func (b *buffer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scheduled = false
	b.write()
}

func (b *buffer) write() {
	if len(b.lines) > 0 {
		_, _ = b.out.Write(b.lines)
		b.lines = b.lines[:0]
	}
}
