package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// durationBuckets returns bucket bounds in seconds, from a cached read to beyond the gateway's deadline of 5
// s.
func durationBuckets() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

// RequestMetrics registers the request metrics of a service, by method and by label, and returns a function that
// records a request. prefix is the beginning of their names, failed the whole name of the failures; of returns
// the value of label.
func RequestMetrics(registry prometheus.Registerer, prefix, failed, label string, of func(Request) string) func(Request) {
	auto, labels := promauto.With(registry), []string{"method", label}
	requests := auto.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "_requests_total", Help: "Requests, by the class of the status.",
	}, []string{"method", label, "status"})
	failures := auto.NewCounterVec(prometheus.CounterOpts{Name: failed, Help: "Requests with a 5xx status."}, labels)
	durations := auto.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "_request_duration_seconds", Help: "Time from a request to its response.", Buckets: durationBuckets(),
	}, labels)
	return func(r Request) {
		value := of(r)
		requests.WithLabelValues(r.Method, value, r.Class()).Inc()
		durations.WithLabelValues(r.Method, value).Observe(r.Duration.Seconds())
		if r.Failed() {
			failures.WithLabelValues(r.Method, value).Inc()
		}
	}
}

// CallMetrics registers the metrics of requests to a service, and returns a function that records one. Status
// 0 means no response.
func CallMetrics(registry prometheus.Registerer, service string) func(Request) {
	durations := promauto.With(registry).NewHistogramVec(prometheus.HistogramOpts{
		Name: "service_call_duration_seconds", Help: "Time of a request to another service, by the class of the status; other: no response.",
		ConstLabels: prometheus.Labels{"target": service}, Buckets: durationBuckets(),
	}, []string{"status"})
	return func(r Request) { durations.WithLabelValues(r.Class()).Observe(r.Duration.Seconds()) }
}

// MetricsHandler serves GET /metrics.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{Registry: t.Registry})
}
