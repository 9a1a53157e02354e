package consumer

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/event"
	"platform.example/apps/internal/redis"
)

func TestHousekeeping(t *testing.T) {
	p := newPlatform(t)
	log, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	client := redis.Open(redis.ReadStream(p.env), log, registry)
	defer func() { _ = client.Close() }()
	c := New(definition(never), client, p.pool, log, registry, noop.Tracer{})

	t.Run("a missing stream is no error", func(t *testing.T) {
		if err := c.removeGone(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})

	t.Run("gone consumers are removed unless they have a pending entry", func(t *testing.T) {
		p.join()
		p.publishEvent(newEvent())
		p.takeAs("busy")
		if err := p.stream.XGroupCreateConsumer(t.Context(), string(event.Orders), group, "gone").Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.removeGone(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := p.consumers(); !slices.Equal(got, []string{"busy", "gone"}) {
			t.Errorf("the consumers are %v, but none has been idle for an hour", got)
		}
		backingtest.Eventually(t, deadline, func() error {
			if err := c.removeGone(t.Context(), 10*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if got := p.consumers(); !slices.Equal(got, []string{"busy"}) {
				return fmt.Errorf("the consumers are %v, want only the one with a pending entry", got)
			}
			return nil
		})
	})

	t.Run("only old records of events are deleted, in batches", func(t *testing.T) {
		_, err := p.pool.Exec(t.Context(), `INSERT INTO handled_events
			SELECT 'c', gen_random_uuid(), now() - CASE WHEN n <= 2500 THEN interval '15 days' ELSE interval '13 days' END
			FROM generate_series(1, 2510) AS n`)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.forget(t.Context(), rememberFor); err != nil {
			t.Fatal(err)
		}
		if n := p.count("handled_events"); n != 10 {
			t.Errorf("%d events are recorded, want 10", n)
		}
	})
}

func (p *platform) consumers() (names []string) {
	p.t.Helper()
	found, err := p.stream.XInfoConsumers(p.t.Context(), string(event.Orders), group).Result()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, consumer := range found {
		names = append(names, consumer.Name)
	}
	return names
}
