package httpserver

import (
	"net/http"
	"net/http/pprof"
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

// requestTimeout ends below the 5 s that the gateway waits, so that the client
// hears our reason rather than the gateway's.
const requestTimeout = 4 * time.Second

// Deadline bounds the time that the context of a request lasts.
var Deadline = middleware.Timeout(requestTimeout)

// maxBodyBytes bounds a request's body: JSON of a few fields is all that the
// APIs take, and a body is held in memory while it is decoded.
const maxBodyBytes = 64 << 10

// NewAPI returns the router of a service's API, with all that every API has:
// request ids, traces, logs, metrics (through observe), recovery, bounded
// bodies, answers to HEAD where there are some to GET, problem answers where no
// route fits, and GET /health, which is asked several times a second and neither
// logged nor counted. More comes before requests are refused: what it adds to
// answers stands on a 413, too.
func NewAPI(t *telemetry.Telemetry, h *health.Health, errs *problem.Mapper, observe func(telemetry.Request),
	more ...func(http.Handler) http.Handler) *chi.Mux {
	router := chi.NewRouter()
	router.Use(middleware.GetHead, unless("/health", append(chi.Middlewares{
		requestid.Middleware, t.Middleware(observe), errs.Recover,
	}, more...)...), wellFormed(errs))
	router.NotFound(errs.Handle(func(http.ResponseWriter, *http.Request) error {
		return problem.New(problem.NotFound, "There is nothing at this path.", nil)
	}))
	router.MethodNotAllowed(errs.Handle(func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Allow", strings.Join(allowed(r), ", "))
		return problem.New(problem.MethodNotAllowed, "This path doesn't take this method.", nil)
	}))
	router.Get("/health", h.Health)
	return router
}

// NewOps returns the router that the platform asks: probes, metrics and profiles, and more by path.
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
	router.Get("/debug/pprof/*", pprof.Index) // each profile that has no handler of its own
	router.Get("/debug/pprof/cmdline", pprof.Cmdline)
	router.Get("/debug/pprof/profile", pprof.Profile)
	router.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	router.Get("/debug/pprof/trace", pprof.Trace)
	return router
}

// unless applies the middlewares to all requests but those for path alone,
// without a query.
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

// wellFormed refuses a query that url.Values would lose a part of, a body with a
// content coding, and one whose stated length is too large, before a byte of it
// is read. It stops reading one without a stated length at the bound.
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

// allowed lists the methods that the path of r takes, for the Allow header that
// RFC 9110 asks of a 405; chi doesn't tell a handler of ours.
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
