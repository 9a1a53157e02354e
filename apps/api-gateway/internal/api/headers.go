package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/cors"

	"platform.example/apps/internal/requestid"
)

// SecurityHeaders tells browsers to do as little with an answer as possible:
// it is data, not a page. What makes a page says otherwise itself.
func SecurityHeaders(next http.Handler) http.Handler {
	headers := http.Header{
		"X-Content-Type-Options":  {"nosniff"},
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
		"Referrer-Policy":         {"no-referrer"},
		"Cache-Control":           {"no-store"}, // nearly all of it is somebody's
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), headers)
		next.ServeHTTP(w, r)
	})
}

// CORS lets pages of these origins use the API. Without any, no page of
// another origin may. Tokens are sent in a header, never by cookie, so that no
// credentials need to be allowed.
func CORS(origins []string) func(http.Handler) http.Handler {
	if len(origins) == 0 {
		return func(next http.Handler) http.Handler { return next }
	}
	return cors.Handler(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Idempotency-Key", requestid.Header},
		ExposedHeaders: []string{"Location", "Retry-After", "Idempotency-Replayed", requestid.Header},
		MaxAge:         int((10 * time.Minute).Seconds()),
	})
}

// ParseOrigins reads origins such as https://shop.example, separated by commas.
func ParseOrigins(raw string) ([]string, error) {
	var origins []string
	for part := range strings.SplitSeq(raw, ",") {
		origin := strings.TrimSpace(part)
		u, err := url.Parse(origin)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || origin != u.Scheme+"://"+u.Host || strings.Contains(origin, "*") {
			return nil, fmt.Errorf("holds %q: must be origins such as https://shop.example, separated by commas", part)
		}
		origins = append(origins, origin)
	}
	return origins, nil
}
