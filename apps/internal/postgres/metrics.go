package postgres

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// RegisterMetrics registers how the connections of pool are used.
func RegisterMetrics(registry prometheus.Registerer, pool *pgxpool.Pool) {
	gauge := func(name, help string, value func(*pgxpool.Stat) float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: "postgres_pool_" + name, Help: help},
			func() float64 { return value(pool.Stat()) }))
	}
	counter := func(name, help string, value func(*pgxpool.Stat) float64) {
		registry.MustRegister(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: "postgres_pool_" + name, Help: help},
			func() float64 { return value(pool.Stat()) }))
	}
	gauge("max_connections", "Connections that the pool may open.",
		func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) })
	gauge("acquired_connections", "Connections in use.",
		func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) })
	gauge("idle_connections", "Connections open and not in use.",
		func(s *pgxpool.Stat) float64 { return float64(s.IdleConns()) })
	counter("acquires_total", "Connections taken from the pool.",
		func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) })
	counter("canceled_acquires_total", "Waits for a connection that were given up.",
		func(s *pgxpool.Stat) float64 { return float64(s.CanceledAcquireCount()) })
	counter("acquire_wait_seconds_total", "Time spent waiting for a connection while none was idle.",
		func(s *pgxpool.Stat) float64 { return s.EmptyAcquireWaitTime().Seconds() })
}
