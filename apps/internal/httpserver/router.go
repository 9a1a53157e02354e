package httpserver

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"platform.example/apps/internal/health"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/requestid"
	"platform.example/apps/internal/telemetry"
)

// maxBodyBytes bounds a request's body: JSON of a few fields is all that the
// APIs take, and a body is held in memory while it is decoded.
const maxBodyBytes = 64 << 10

// NewAPI returns the router of a service's API, with all that every API has:
// request ids, traces, logs, metrics (through observe), recovery, bounded
// bodies, problem answers where no route fits, and GET /health, which is asked
// several times a second and neither logged nor counted. More comes before the
// bound of bodies: what it adds to answers stands on a 413, too.
func NewAPI(t *telemetry.Telemetry, h *health.Health, errs *problem.Mapper, observe func(telemetry.Request),
	more ...func(http.Handler) http.Handler) *chi.Mux {
	router := chi.NewRouter()
	router.Use(unless("/health", append(append(chi.Middlewares{
		requestid.Middleware, t.Middleware(observe), errs.Recover,
	}, more...), boundBody(errs))...))
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

// NewOps returns the router that the platform asks: probes and metrics.
func NewOps(t *telemetry.Telemetry, h *health.Health) http.Handler {
	router := chi.NewRouter()
	router.Get("/livez", h.Livez)
	router.Get("/readyz", h.Readyz)
	router.Get("/health", h.Health)
	router.Method(http.MethodGet, "/metrics", t.MetricsHandler())
	return router
}

// unless applies the middlewares to all requests but those for path.
func unless(path string, middlewares ...func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		full := chi.Chain(middlewares...).Handler(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == path {
				next.ServeHTTP(w, r)
				return
			}
			full.ServeHTTP(w, r)
		})
	}
}

// boundBody refuses a body whose stated length is too large before a byte of
// it is read, and stops reading one without a stated length at the bound.
func boundBody(errs *problem.Mapper) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		}
	}
	return methods
}
