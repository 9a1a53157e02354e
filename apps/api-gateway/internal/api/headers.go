package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/cors"

	"platform.example/apps/api-gateway/internal/clientaddr"
	"platform.example/apps/api-gateway/internal/limit"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/requestid"
)

// SecurityHeaders sets headers that restrict what browsers do with a response: it is data, not a page. The
// handlers of pages override them.
func SecurityHeaders(next http.Handler) http.Handler {
	headers := http.Header{
		"X-Content-Type-Options":  {"nosniff"},
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
		"Referrer-Policy":         {"no-referrer"},
		"Cache-Control":           {"no-store"}, // most responses are personal
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), headers)
		next.ServeHTTP(w, r)
	})
}

// CORS allows pages of these origins to use the API. Without origins, no page of another origin may. Tokens
// are sent in a header, never in a cookie, so no credentials need to be allowed.
func CORS(origins []string) func(http.Handler) http.Handler {
	if len(origins) == 0 {
		return func(next http.Handler) http.Handler { return next }
	}
	return cors.Handler(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", requestid.Header},
		ExposedHeaders: []string{"ETag", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotency-Replayed", requestid.Header},
		MaxAge:         int((10 * time.Minute).Seconds()),
	})
}

// ParseOrigins parses origins such as https://shop.example, separated by commas. They must have the form that
// browsers send: no other form ever matches.
func ParseOrigins(raw string) ([]string, error) {
	defaultPorts := map[string]string{"http": "80", "https": "443"}
	var origins []string
	for part := range strings.SplitSeq(raw, ",") {
		origin := strings.TrimSpace(part)
		u, err := url.Parse(origin)
		if err != nil || u.Hostname() == "" || defaultPorts[u.Scheme] == "" || u.Port() == defaultPorts[u.Scheme] ||
			origin != strings.ToLower(u.Scheme+"://"+u.Host) || strings.HasSuffix(origin, ":") || strings.Contains(origin, "*") {
			return nil, fmt.Errorf("has an invalid origin at position %d: want origins as browsers send them, such as https://shop.example, "+
				"in lower case, without credentials, a default port or a path, separated by commas", len(origins)+1)
		}
		origins = append(origins, origin)
	}
	return origins, nil
}

// PerAddress limits the requests of each client address. The edge does it instead, unless clients' addresses
// come from proxies in front of the edge.
func PerAddress(l *limit.Limit, proxies clientaddr.Proxies, errs *problem.Mapper) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return errs.Handle(func(w http.ResponseWriter, r *http.Request) error {
			err := within(l, clientaddr.NetworkOf(proxies.Of(r)))
			if err == nil {
				next.ServeHTTP(w, r)
			}
			return err
		})
	}
}
