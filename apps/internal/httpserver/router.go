package httpserver

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"platform.example/apps/internal/health"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/requestid"
	"platform.example/apps/internal/telemetry"
)

// requestTimeout is below the 5 s that the gateway waits, so that the client receives the service's reason,
// not the gateway's.
const requestTimeout = 4 * time.Second

// Deadline is a middleware that sets the deadline of a request's context.
var Deadline = middleware.Timeout(requestTimeout)

// maxBodyBytes limits the body of a request: the APIs take JSON of a few fields, and a body is held in memory
// while it is decoded.
const maxBodyBytes = 64 << 10

// NewAPI returns the router of a service's API. Its middlewares set request ids, trace, log and count
// requests (through observe), recover from panics and limit bodies. The router responds to HEAD wherever it
// responds to GET, sends a problem where no route matches, and serves GET /health, which is requested several
// times a second and neither logged nor counted. The additional middlewares run before a malformed request is
// refused: the headers they set are also on a 413.
func NewAPI(t *telemetry.Telemetry, h *health.Health, errs *problem.Mapper, observe func(telemetry.Request),
	more ...func(http.Handler) http.Handler) *chi.Mux {
	router := chi.NewRouter()
	router.Use(middleware.GetHead, unless("/health", append(chi.Middlewares{
		requestid.Middleware, t.Middleware(observe), errs.Recover,
	}, more...)...), wellFormed(errs))
	router.NotFound(errs.Handle(func(http.ResponseWriter, *http.Request) error {
		return problem.New(problem.NotFound, "This path does not exist.", nil)
	}))
	router.MethodNotAllowed(errs.Handle(func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Allow", strings.Join(allowed(r), ", "))
		return problem.New(problem.MethodNotAllowed, "This path does not support this method.", nil)
	}))
	router.Get("/health", h.Health)
	return router
}

// NewOps returns the router of the ops port: probes, metrics, profiles, and the handlers of more by path.
func NewOps(t *telemetry.Telemetry, h *health.Health, more map[string]http.Handler) http.Handler {
	router := chi.NewRouter()
	router.Use(middleware.GetHead)
	router.Get("/livez", h.Livez)
	router.Get("/readyz", h.Readyz)
	router.Get("/health", h.Health)
	router.Method(http.MethodGet, "/metrics", t.MetricsHandler())
	for path, handler := range more {
		router.Method(http.MethodGet, path, handler)
	}
	router.Mount("/debug", middleware.Profiler())
	return router
}

// unless applies the middlewares to all requests except those for path without a query.
func unless(path string, middlewares ...func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		full := chi.Chain(middlewares...).Handler(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == path && r.URL.RawQuery == "" {
				next.ServeHTTP(w, r)
				return
			}
			full.ServeHTTP(w, r)
		})
	}
}

// wellFormed refuses a query that url.ParseQuery can't parse in full, and a body with a content coding. It
// refuses a body whose Content-Length is too large before reading it, and stops reading a body without a
// Content-Length at the limit.
func wellFormed(errs *problem.Mapper) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
				errs.Write(w, r, problem.New(problem.Malformed, "The query string is malformed.", err))
				return
			}
			coding := strings.Join(r.Header.Values("Content-Encoding"), ",")
			if r.ContentLength != 0 && coding != "" && !strings.EqualFold(coding, "identity") {
				w.Header().Set("Accept-Encoding", "identity") // RFC 9110, 15.5.16
				errs.Write(w, r, problem.New(problem.UnsupportedMediaType, "The body must have no Content-Encoding.", nil))
				return
			}
			if r.ContentLength > maxBodyBytes {
				errs.Write(w, r, &http.MaxBytesError{Limit: maxBodyBytes})
				return
			}
			if r.Body != nil && r.Body != http.NoBody {
				r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
			}
			next.ServeHTTP(w, r)
		})
	}
}

// allowed returns the methods of the path of r for the Allow header, which RFC 9110 requires on a 405; chi
// doesn't pass them to a custom handler.
func allowed(r *http.Request) []string {
	routes := chi.RouteContext(r.Context()).Routes
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if routes.Match(chi.NewRouteContext(), method, r.URL.Path) {
			methods = append(methods, method)
			if method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
		}
	}
	return methods
}
