package redis_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/redis"
)

// A missing key is no failure, and doesn't hide one.
func TestPipelineMetrics(t *testing.T) {
	server := backingtest.StartRedis(t)
	c, err := read(server.Env(service))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	client := redis.Open(c, slog.New(slog.DiscardHandler), registry)
	defer func() { _ = client.Close() }()
	pipeline := func(commands ...[]any) {
		_, _ = client.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
			for _, command := range commands {
				p.Do(t.Context(), command...)
			}
			return nil
		})
	}
	pipeline([]any{"GET", "user:missing"}, []any{"SET", "user:present", "x"})
	pipeline([]any{"GET", "user:missing"}, []any{"GET", "user:present", "one too many"})

	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "command" && label.GetValue() == "pipeline" {
					got[family.GetName()] = metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	if got["redis_command_duration_seconds"] != 2 || got["redis_command_errors_total"] != 1 {
		t.Errorf("2 pipelines ran and 1 failed: %v", got)
	}
}

// A command outside of a request, such as a poll, would be a separate trace.
func TestSpansOfCommandsOmitArguments(t *testing.T) {
	server := backingtest.StartRedis(t)
	c, err := read(server.Env(service))
	if err != nil {
		t.Fatal(err)
	}
	exporter := tracetest.NewInMemoryExporter()
	c.Spans = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	client := redis.Open(c, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	defer func() { _ = client.Close() }()
	_ = client.Get(t.Context(), "user:ada")
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Errorf("outside of a request: %v", spans)
	}
	ctx, request := c.Spans.Tracer("").Start(t.Context(), "request")
	_ = client.Get(ctx, "user:ada")
	spans := exporter.GetSpans()
	if len(spans) != 1 || spans[0].Name != "get" || spans[0].Parent.SpanID() != request.SpanContext().SpanID() ||
		strings.Contains(fmt.Sprintf("%+v", spans), "ada") {
		t.Errorf("in a request: %+v", spans)
	}
}
