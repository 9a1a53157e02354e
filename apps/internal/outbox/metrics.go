package outbox

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"platform.example/apps/internal/event"
)

// scrapeTimeout limits the delay of a scrape by a database that doesn't respond. A scrape that takes too long
// loses all other metrics.
const scrapeTimeout = 500 * time.Millisecond

type metrics struct {
	published *prometheus.CounterVec
	losses    prometheus.Counter
}

func newMetrics(o Outbox, pool *pgxpool.Pool, registry prometheus.Registerer) *metrics {
	registry = prometheus.WrapRegistererWith(prometheus.Labels{"stream": string(o.Stream)}, registry)
	auto, prefix := promauto.With(registry), strings.ReplaceAll(o.Service, "-", "_")
	registry.MustRegister(backlog{
		outbox: o, pool: pool,
		rows: prometheus.NewDesc(prefix+"_outbox_unpublished",
			"Events that are not published yet.", nil, nil),
		oldest: prometheus.NewDesc(prefix+"_outbox_oldest_unpublished_seconds",
			"Age of the oldest event that is not published yet; 0 if there is none.", nil, nil),
	})
	return &metrics{
		published: auto.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "_events_published_total", Help: "Events added to the stream, repetitions included.",
		}, []string{"type"}),
		losses: auto.NewCounter(prometheus.CounterOpts{
			Name: prefix + "_stream_losses_total", Help: "Times that the stream was found to have lost entries.",
		}),
	}
}

func (m *metrics) count(events []event.Event, positions []position) {
	for i, e := range events {
		if positions[i] != (position{}) {
			m.published.WithLabelValues(string(e.Type)).Inc()
		}
	}
}

// backlog queries the database at each scrape, so that replicas that don't publish report it, too. If the
// query fails, the metrics are absent.
type backlog struct {
	outbox       Outbox
	pool         *pgxpool.Pool
	rows, oldest *prometheus.Desc
}

func (b backlog) Describe(descs chan<- *prometheus.Desc) { descs <- b.rows; descs <- b.oldest }

func (b backlog) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var rows int64
	var oldest float64
	err := b.pool.QueryRow(ctx, b.outbox.sql(`SELECT count(*), coalesce(extract(epoch FROM now() - min(occurred_at)), 0)::float8
		FROM outbox WHERE published_at IS NULL`)).Scan(&rows, &oldest)
	if err != nil {
		return
	}
	metrics <- prometheus.MustNewConstMetric(b.rows, prometheus.GaugeValue, float64(rows))
	metrics <- prometheus.MustNewConstMetric(b.oldest, prometheus.GaugeValue, max(oldest, 0))
}
