package api

import (
	"strings"

	"platform.example/apps/internal/telemetry"
)

// ServiceOf returns the service that handles a request. Sign-ins count for user-service, which checks the password.
func ServiceOf(r telemetry.Request) string {
	switch pattern := r.Pattern; {
	case strings.HasPrefix(pattern, "/api/users"), pattern == "/api/audit", strings.HasPrefix(pattern, "/api/auth"):
		return "user-service"
	case strings.HasPrefix(pattern, "/api/orders"):
		return "order-service"
	case strings.HasPrefix(pattern, "/api/notifications"):
		return "notification-service"
	}
	return "api-gateway"
}
