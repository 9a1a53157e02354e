// Package httpserver serves a service's API and its ops endpoints, limits the resources of each client, and
// stops without losing a request.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/health"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/requestid"
	"platform.example/apps/internal/telemetry"
)

const (
	// A client that sends its request slowly holds a connection no longer than readTimeout.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	// Longer than the 5 s that the gateway waits for an upstream.
	writeTimeout = 15 * time.Second
	// Longer than the platform's own clients keep an idle connection (IdleConnTimeout of the gateway): the
	// client closes the connection, and no request arrives on a connection that the server is closing.
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
	// A Service's selector routes new connections only. A colour that detects that it is no longer live
	// closes its connections; maxConnectionAge limits their age if it doesn't detect it.
	maxConnectionAge = 30 * time.Second
	// The time for the requests in flight to finish.
	shutdownBudget = 20 * time.Second
)

// Server has two listeners: one for the API and one for the platform (ops).
type Server struct {
	log           *slog.Logger
	health        *health.Health
	colour        *live.Switch
	shutdownDelay time.Duration
	maxAge        time.Duration
	serverTiming  []string // the value of the Server-Timing header, shared by all responses

	api, ops                 *http.Server
	apiListener, opsListener net.Listener
	draining                 atomic.Bool
	lastRequest              atomic.Int64       // Unix time in ns
	abandon                  context.CancelFunc // cancels every request of the API
}

// Listen opens both listeners. Call Run to serve on them.
func Listen(service config.Service, log *slog.Logger, h *health.Health, colour *live.Switch, api, ops http.Handler) (*Server, error) {
	apiListener, err := net.Listen("tcp", service.HTTPAddr)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	opsListener, err := net.Listen("tcp", service.OpsAddr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OPS_ADDR: %w", err), apiListener.Close())
	}
	requests, abandon := context.WithCancel(context.Background())
	s := &Server{
		log: log, health: h, colour: colour, shutdownDelay: service.ShutdownDelay, maxAge: maxConnectionAge,
		serverTiming: []string{fmt.Sprintf("%s;desc=%q", service.Name, service.Colour+" "+service.Version)},
		apiListener:  apiListener, opsListener: opsListener, abandon: abandon,
	}
	s.api = newServer(s.closeOldConnections(api), log)
	s.api.BaseContext = func(net.Listener) context.Context { return requests }
	s.api.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, openedKey{}, time.Now())
	}
	s.ops = newServer(ops, log)
	return s, nil
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Run serves until ctx is done and then stops gracefully. It fails if a listener fails.
func (s *Server) Run(ctx context.Context) error {
	defer s.abandon()
	failed := make(chan error, 2)
	go func() { failed <- s.api.Serve(s.apiListener) }()
	go func() { failed <- s.ops.Serve(s.opsListener) }()
	s.log.Info("listening", "http", s.apiListener.Addr().String(), "ops", s.opsListener.Addr().String())

	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("serving: %w", err), s.api.Close(), s.ops.Close())
	case <-ctx.Done():
		return s.stop()
	}
}

// stop keeps serving until the routing has changed, finishes the requests in flight, and closes. It closes
// the ops listener last, so that the platform can observe the stop.
func (s *Server) stop() error {
	s.log.Info("stopping", "delay", s.shutdownDelay)
	s.health.Drain()
	s.draining.Store(true)
	time.Sleep(s.shutdownDelay)
	s.linger()

	ctx, cancel := context.WithTimeout(context.Background(), shutdownBudget)
	defer cancel()
	err := s.api.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("requests still in flight after %s were aborted: %w", shutdownBudget, err)
		s.abandon()
		err = errors.Join(err, s.api.Close())
	}
	s.log.Info("stopped")
	return errors.Join(err, s.ops.Close())
}

// linger keeps serving, for up to three times the delay, until no request has arrived for a fifth of the
// delay. Requests still arrive here only while no other replica is ready.
func (s *Server) linger() {
	quiet, end := s.shutdownDelay/5, time.Now().Add(3*s.shutdownDelay)
	for time.Now().Before(end) {
		silence := time.Since(time.Unix(0, s.lastRequest.Load()))
		if silence >= quiet {
			return
		}
		time.Sleep(quiet - silence)
	}
}

type openedKey struct{}

// closeOldConnections asks the client to open a new connection if this one is old, if the server is about to
// stop, or if another colour is live. In the last case the response has the header live.Header. net/http
// closes the connection after such a response.
//
// Each response names the service, colour and version in a Server-Timing header (W3C). The gateway adds its
// own, so a client sees which services produced its response.
func (s *Server) closeOldConnections(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Server-Timing"] = s.serverTiming
		if !r.Close { // the client keeps the connection
			s.colour.Served()
			s.lastRequest.Store(time.Now().UnixNano())
		}
		lost := s.colour.Lost()
		if lost {
			w.Header().Set(live.Header, live.Lost)
		}
		opened, _ := r.Context().Value(openedKey{}).(time.Time)
		if lost || s.draining.Load() || time.Since(opened) > s.maxAge {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

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
		return errs.Handle(func(w http.ResponseWriter, r *http.Request) error {
			if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
				return problem.New(problem.Malformed, "The query string is malformed.", err)
			}
			coding := strings.Join(r.Header.Values("Content-Encoding"), ",")
			if r.ContentLength != 0 && coding != "" && !strings.EqualFold(coding, "identity") {
				w.Header().Set("Accept-Encoding", "identity") // RFC 9110, 15.5.16
				return problem.New(problem.UnsupportedMediaType, "The body must have no Content-Encoding.", nil)
			}
			if r.ContentLength > maxBodyBytes {
				return &http.MaxBytesError{Limit: maxBodyBytes}
			}
			if r.Body != nil && r.Body != http.NoBody {
				r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
			}
			next.ServeHTTP(w, r)
			return nil
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
