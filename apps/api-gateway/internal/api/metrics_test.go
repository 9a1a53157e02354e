package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"platform.example/apps/internal/telemetry"
)

func TestRequestsAreCountedByService(t *testing.T) {
	registry := prometheus.NewRegistry()
	observe := telemetry.RequestMetrics(registry, "gateway", "gateway_service_errors_total", "service", ServiceOf)
	observe(telemetry.Request{Method: "GET", Pattern: "/api/orders"}) // not yet
	for pattern, status := range map[string]int{
		"/api/users/{id}": 200, "/api/audit": 200, "/api/auth/token": 401, "/api/orders": 503, "/api/notifications": 200, "/openapi.json": 200,
	} {
		observe(telemetry.Request{Method: "GET", Pattern: pattern, Status: status, Duration: 2 * time.Second})
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	exposed := w.Body.String()
	for _, want := range []string{
		`gateway_requests_total{method="GET",service="api-gateway",status="2xx"} 1`,
		`gateway_requests_total{method="GET",service="notification-service",status="2xx"} 1`,
		`gateway_requests_total{method="GET",service="order-service",status="5xx"} 1`,
		`gateway_requests_total{method="GET",service="user-service",status="2xx"} 2`,
		`gateway_requests_total{method="GET",service="user-service",status="4xx"} 1`,
		`gateway_service_errors_total{method="GET",service="order-service"} 1`,
		`gateway_requests_total{method="GET",service="order-service",status="2xx"} 0`,
		`gateway_request_duration_seconds_sum{method="GET",service="user-service"} 6`,
	} {
		if !strings.Contains(exposed, want+"\n") {
			t.Errorf("no %s in\n%s", want, exposed)
		}
	}
	if n := strings.Count(exposed, "\ngateway_service_errors_total{"); n != 1 {
		t.Errorf("%d services have errors, want 1", n)
	}
}
