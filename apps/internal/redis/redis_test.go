package redis_test

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/redis"
)

// A missing key is no failure, and doesn't hide one.
func TestAPipelineIsMeasured(t *testing.T) {
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
		t.Errorf("of 2 pipelines, 1 of which failed: %v", got)
	}
}
