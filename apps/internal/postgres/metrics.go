package postgres

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// RegisterMetrics registers how the connections of pool are used.
func RegisterMetrics(registry prometheus.Registerer, pool *pgxpool.Pool) {
	auto := promauto.With(registry)
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postgres_pool_acquired_connections", Help: "Connections in use.",
	}, func() float64 { return float64(pool.Stat().AcquiredConns()) })
	auto.NewCounterFunc(prometheus.CounterOpts{
		Name: "postgres_pool_acquires_total", Help: "Connections taken from the pool.",
	}, func() float64 { return float64(pool.Stat().AcquireCount()) })
	auto.NewCounterFunc(prometheus.CounterOpts{
		Name: "postgres_pool_canceled_acquires_total", Help: "Waits for a connection that were given up.",
	}, func() float64 { return float64(pool.Stat().CanceledAcquireCount()) })
	auto.NewCounterFunc(prometheus.CounterOpts{
		Name: "postgres_pool_acquire_wait_seconds_total", Help: "Time spent waiting for a connection while none was idle.",
	}, func() float64 { return pool.Stat().EmptyAcquireWaitTime().Seconds() })
}
