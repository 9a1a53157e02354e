package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// DurationBuckets returns bucket bounds in seconds, from a cached read to beyond the gateway's deadline of 5
// s.
func DurationBuckets() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

// RequestMetrics registers the request metrics of a service, and returns a function that records a request.
// prefix is the service's name with underscores.
func (t *Telemetry) RequestMetrics(prefix string) func(Request) {
	auto, labels := promauto.With(t.Registry), []string{"method", "endpoint"}
	requests := auto.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "_requests_total", Help: "Requests, by the class of the status.",
	}, []string{"method", "endpoint", "status"})
	failures := auto.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "_errors_total", Help: "Requests with a 5xx status.",
	}, labels)
	durations := auto.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "_request_duration_seconds", Help: "Time from a request to its response.", Buckets: DurationBuckets(),
	}, labels)
	return func(r Request) {
		requests.WithLabelValues(r.Method, r.Pattern, r.Class()).Inc()
		durations.WithLabelValues(r.Method, r.Pattern).Observe(r.Duration.Seconds())
		if r.Failed() {
			failures.WithLabelValues(r.Method, r.Pattern).Inc()
		}
	}
}

// CallMetrics registers the metrics of requests to a service, and returns a function that records one. Status
// 0 means no response.
func CallMetrics(registry prometheus.Registerer, service string) func(Request) {
	durations := promauto.With(registry).NewHistogramVec(prometheus.HistogramOpts{
		Name: "service_call_duration_seconds", Help: "Time of a request to another service, by the class of the status; other: no response.",
		ConstLabels: prometheus.Labels{"target": service}, Buckets: DurationBuckets(),
	}, []string{"status"})
	return func(r Request) { durations.WithLabelValues(r.Class()).Observe(r.Duration.Seconds()) }
}

// MetricsHandler serves GET /metrics.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{Registry: t.Registry})
}
