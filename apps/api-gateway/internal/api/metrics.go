package api

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"platform.example/apps/internal/telemetry"
)

// Metrics counts requests by service.
type Metrics struct {
	requests, failures *prometheus.CounterVec
	durations          *prometheus.HistogramVec
}

// NewMetrics registers the metrics of the gateway.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	auto := promauto.With(registry)
	return &Metrics{
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_requests_total", Help: "Requests, by service and class of the status.",
		}, []string{"service", "method", "status"}),
		failures: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_service_errors_total", Help: "Requests with a 5xx status, by service.",
		}, []string{"service"}),
		durations: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gateway_request_duration_seconds", Help: "Time from a request to its response, by service.",
			Buckets: telemetry.DurationBuckets(),
		}, []string{"service"}),
	}
}

// Observe counts a request.
func (m *Metrics) Observe(r telemetry.Request) {
	service := serviceOf(r.Pattern)
	m.requests.WithLabelValues(service, r.Method, r.Class()).Inc()
	m.durations.WithLabelValues(service).Observe(r.Duration.Seconds())
	if r.Failed() {
		m.failures.WithLabelValues(service).Inc()
	}
}

// serviceOf returns the service of a route's pattern. Sign-ins count for user-service, which checks the
// password.
func serviceOf(pattern string) string {
	switch {
	case strings.HasPrefix(pattern, "/api/users"), pattern == "/api/audit", strings.HasPrefix(pattern, "/api/auth"):
		return "user-service"
	case strings.HasPrefix(pattern, "/api/orders"):
		return "order-service"
	case strings.HasPrefix(pattern, "/api/notifications"):
		return "notification-service"
	}
	return "api-gateway"
}
