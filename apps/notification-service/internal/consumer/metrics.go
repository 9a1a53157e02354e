package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/event"
	"platform.example/apps/notification-service/internal/notification"
)

// watchInterval is below the usual 15 s between two scrapes.
const watchInterval = 5 * time.Second

// outcome is what became of an event.
type outcome string

const (
	handled   outcome = "handled"
	duplicate outcome = "duplicate" // handled before
	unknown   outcome = "unknown"   // of a type that a newer publisher has
	dead      outcome = "dead"
)

type metrics struct {
	events                    *prometheus.CounterVec
	lag, pending, deadLetters prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) *metrics {
	auto := promauto.With(registry)
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Name: "notification_service_" + name, Help: help})
	}
	return &metrics{
		events: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "notification_service_events_handled_total", Help: "Events that are done with, by what became of them.",
		}, []string{"type", "outcome"}),
		lag:         gauge("stream_lag", "Entries of the stream that no consumer has been given yet."),
		pending:     gauge("stream_pending", "Entries of the stream that were given to a consumer and aren't acknowledged."),
		deadLetters: gauge("dead_letters", "Entries that could not be handled."),
	}
}

func (m *metrics) handled(t event.Type, o outcome) {
	m.events.WithLabelValues(label(t), string(o)).Inc()
}

// label keeps made-up types from becoming label values.
func label(t event.Type) string {
	if notification.Known(t) {
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
	length, err := c.stream.XLen(ctx, event.OrderStream).Result()
	if err != nil {
		return fmt.Errorf("measuring %s: %w", event.OrderStream, err)
	}
	deadLetters, err := c.stream.XLen(ctx, event.DeadLetters).Result()
	if err != nil {
		return fmt.Errorf("measuring %s: %w", event.DeadLetters, err)
	}
	// Without the group, all that there is has yet to be delivered.
	group := goredis.XInfoGroup{Lag: length}
	if length > 0 { // else there may be no stream, of which XINFO says an error
		groups, err := c.stream.XInfoGroups(ctx, event.OrderStream).Result()
		if err != nil {
			return fmt.Errorf("measuring the group: %w", err)
		}
		for _, g := range groups {
			if g.Name == Group {
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
