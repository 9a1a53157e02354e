// Package httpserver serves a service's API and its ops endpoints, bounds what
// a client may take, and stops without losing a request.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/health"
	"platform.example/apps/internal/live"
)

const (
	// A client that trickles its request holds a connection no longer than this.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	// Longer than the 5 s that the gateway gives an upstream.
	writeTimeout = 15 * time.Second
	// Longer than our own clients keep a connection idle (IdleConnTimeout of
	// the gateway), so that it is the client that closes it and no request
	// meets a connection that the server is closing.
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10
	// A Service's selector moves new connections only. A colour that knows it is
	// no longer live closes the old ones; this bounds their age where it doesn't.
	maxConnectionAge = 30 * time.Second
	// What is in hand may take this long to finish.
	shutdownBudget = 20 * time.Second
)

// Server is two listeners: the API's and the one for the platform.
type Server struct {
	log           *slog.Logger
	health        *health.Health
	colour        *live.Switch
	shutdownDelay time.Duration
	maxAge        time.Duration
	answeredBy    []string // the values of Server-Timing; shared by all answers

	api, ops                 *http.Server
	apiListener, opsListener net.Listener
	draining                 atomic.Bool
	asked                    atomic.Int64       // when a client asked last: Unix time in ns
	abandon                  context.CancelFunc // cancels every request of the API
}

// Listen takes both addresses; Run serves on them.
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
		answeredBy:  []string{fmt.Sprintf("%s;desc=%q", service.Name, service.Colour+" "+service.Version)},
		apiListener: apiListener, opsListener: opsListener, abandon: abandon,
	}
	s.api = newServer(s.sendsClientsOn(api), log)
	s.api.BaseContext = func(net.Listener) context.Context { return requests }
	s.api.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, bornKey{}, time.Now())
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

// Run serves until ctx is done and then stops gracefully, or until a listener fails.
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

// stop goes on serving until routing has followed, finishes what is in hand and
// closes. The ops listener goes last, so that the platform sees what happens.
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
		err = fmt.Errorf("requests still in hand after %s were cut: %w", shutdownBudget, err)
		s.abandon()
		err = errors.Join(err, s.api.Close())
	}
	s.log.Info("stopped")
	return errors.Join(err, s.ops.Close())
}

// linger serves on, for up to three times the delay, until a fifth of the delay
// has passed without a request: they are led here only while no other replica is ready.
func (s *Server) linger() {
	quiet, end := s.shutdownDelay/5, time.Now().Add(3*s.shutdownDelay)
	for time.Now().Before(end) {
		silence := time.Since(time.Unix(0, s.asked.Load()))
		if silence >= quiet {
			return
		}
		time.Sleep(quiet - silence)
	}
}

type bornKey struct{}

// sendsClientsOn asks the client for a new connection once this one is old, the
// server is about to stop, or another colour is live, and in that case says so.
// net/http closes after such an answer.
//
// It also names service, colour and version in a Server-Timing header (W3C), which
// the gateway passes on beside its own: a client sees who had a part in its answer.
func (s *Server) sendsClientsOn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Server-Timing"] = s.answeredBy
		if !r.Close { // a connection that would stay
			s.colour.Served()
			s.asked.Store(time.Now().UnixNano())
		}
		lost := s.colour.Lost()
		if lost {
			w.Header().Set(live.Header, live.Lost)
		}
		born, _ := r.Context().Value(bornKey{}).(time.Time)
		if lost || s.draining.Load() || time.Since(born) > s.maxAge {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
