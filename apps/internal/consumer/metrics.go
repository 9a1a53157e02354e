package consumer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/event"
)

// watchInterval is below the usual scrape interval of 15 s.
const watchInterval = 5 * time.Second

// outcome is the result of handling an event.
type outcome string

const (
	handled   outcome = "handled"
	duplicate outcome = "duplicate" // handled before
	unknown   outcome = "unknown"   // of a type that this consumer doesn't handle
	dead      outcome = "dead"
)

type metrics struct {
	events                    *prometheus.CounterVec
	lag, pending, deadLetters prometheus.Gauge
}

func newMetrics(d Definition, registry prometheus.Registerer) *metrics {
	auto := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"consumer": d.Group}, registry))
	prefix := strings.ReplaceAll(d.Service, "-", "_") + "_"
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help})
	}
	m := &metrics{
		events: auto.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "events_handled_total", Help: "Events handled, by type and outcome.",
		}, []string{"type", "outcome"}),
		lag:         gauge("stream_lag", "Entries of the stream that are not delivered yet."),
		pending:     gauge("stream_pending", "Entries of the stream that are delivered and not acknowledged."),
		deadLetters: gauge("dead_letters", "Entries of the stream that could not be handled."),
	}
	for _, t := range d.Types { // so that rate() sees the first event
		for _, o := range []outcome{handled, duplicate, dead} {
			m.events.WithLabelValues(string(t), string(o))
		}
	}
	return m
}

func (m *metrics) handled(label string, o outcome) { m.events.WithLabelValues(label, string(o)).Inc() }

// label returns the type, or "other" for a type that the consumer doesn't handle: publishers can't create
// label values.
func (c *Consumer) label(t event.Type) string {
	if slices.Contains(c.Types, t) {
		return string(t)
	}
	return "other"
}

// Watch updates the gauges of the stream until ctx is done. While Redis is unavailable they keep their
// values.
func (c *Consumer) Watch(ctx context.Context) {
	background.Every(ctx, watchInterval, func() {
		if err := c.measure(ctx); err != nil {
			c.log.Debug("measuring the stream failed", "cause", err)
		}
	})
}

func (c *Consumer) measure(ctx context.Context) error {
	length, err := c.redis.XLen(ctx, string(c.Stream)).Result()
	if err != nil {
		return fmt.Errorf("measuring %s: %w", c.Stream, err)
	}
	deadLetters, err := c.redis.XLen(ctx, c.Stream.DeadLetters()).Result()
	if err != nil {
		return fmt.Errorf("measuring %s: %w", c.Stream.DeadLetters(), err)
	}
	// Without the group no entry is delivered.
	group := goredis.XInfoGroup{Lag: length}
	if length > 0 { // XINFO fails if there is no stream
		groups, err := c.redis.XInfoGroups(ctx, string(c.Stream)).Result()
		if err != nil {
			return fmt.Errorf("measuring the group: %w", err)
		}
		for _, g := range groups {
			if g.Name == c.Group {
				group = g
			}
		}
	}
	if group.Lag >= 0 { // unknown after entries were deleted one by one
		c.metrics.lag.Set(float64(group.Lag))
	}
	c.metrics.pending.Set(float64(group.Pending))
	c.metrics.deadLetters.Set(float64(deadLetters))
	return nil
}
