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

// watchInterval is below the usual 15 s between two scrapes.
const watchInterval = 5 * time.Second

// outcome is what became of an event.
type outcome string

const (
	handled   outcome = "handled"
	duplicate outcome = "duplicate" // handled before
	unknown   outcome = "unknown"   // of a type that this consumer leaves to others, or that a newer publisher has
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
			Name: prefix + "events_handled_total", Help: "Events that are done with, by what became of them.",
		}, []string{"type", "outcome"}),
		lag:         gauge("stream_lag", "Entries of the stream that no consumer has been given yet."),
		pending:     gauge("stream_pending", "Entries of the stream that were given to a consumer and aren't acknowledged."),
		deadLetters: gauge("dead_letters", "Entries of the stream that could not be handled."),
	}
	for _, t := range d.Types { // a counter that starts with its first event misses it
		for _, o := range []outcome{handled, duplicate, dead} {
			m.events.WithLabelValues(string(t), string(o))
		}
	}
	return m
}

func (m *metrics) handled(label string, o outcome) { m.events.WithLabelValues(label, string(o)).Inc() }

// label keeps made-up types from becoming label values.
func (c *Consumer) label(t event.Type) string {
	if slices.Contains(c.Types, t) {
		return string(t)
	}
	return "other"
}

// Watch keeps the metrics of the stream right until ctx is done. While Redis is
// away they stay as they were.
func (c *Consumer) Watch(ctx context.Context) {
	background.Every(ctx, watchInterval, func() {
		if err := c.measure(ctx); err != nil {
			c.log.Debug("the stream could not be measured", "cause", err)
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
	// Without the group, all that there is has yet to be delivered.
	group := goredis.XInfoGroup{Lag: length}
	if length > 0 { // else there may be no stream, of which XINFO says an error
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
	if group.Lag >= 0 { // Redis can't tell after entries were deleted one by one
		c.metrics.lag.Set(float64(group.Lag))
	}
	c.metrics.pending.Set(float64(group.Pending))
	c.metrics.deadLetters.Set(float64(deadLetters))
	return nil
}
