package postgres

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// RegisterMetrics registers the metrics of a connection pool.
func RegisterMetrics(registry prometheus.Registerer, pool *pgxpool.Pool) {
	auto := promauto.With(registry)
	counter := func(name, help string, value func() float64) {
		auto.NewCounterFunc(prometheus.CounterOpts{Name: "postgres_pool_" + name, Help: help}, value)
	}
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postgres_pool_acquired_connections", Help: "Connections in use.",
	}, func() float64 { return float64(pool.Stat().AcquiredConns()) })
	counter("acquires_total", "Connections taken from the pool.", func() float64 { return float64(pool.Stat().AcquireCount()) })
	counter("canceled_acquires_total", "Waits for a connection that were given up.", func() float64 { return float64(pool.Stat().CanceledAcquireCount()) })
	counter("acquire_wait_seconds_total", "Time spent waiting for a connection while none was idle.", func() float64 { return pool.Stat().EmptyAcquireWaitTime().Seconds() })
}
