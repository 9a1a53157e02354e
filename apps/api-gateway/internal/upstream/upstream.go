// Package upstream sends requests to one service behind the gateway and isolates its failures: with a
// deadline, a limit on concurrent requests (bulkhead), a circuit breaker, retries within a budget, and
// problem responses.
//
// The client is fasthttp's because it writes and reads in the goroutine of the request: net/http's client
// passes each exchange to two more goroutines, which halves the throughput of the gateway. Requests and
// responses are sent once they are complete: their size is limited, and neither side can delay the other.
package upstream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/valyala/fasthttp"

	"platform.example/apps/internal/breaker"
	"platform.example/apps/internal/client"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/problem"
)

const (
	deadline    = 5 * time.Second // for a whole exchange, retries included
	dialTimeout = time.Second
	// Shorter than the servers' idle timeout of 60 s, so that the client closes the connection. It is also
	// short because an idle connection still goes to the previous colour after a switch or a rollback.
	idleTimeout = 400 * time.Millisecond
	// maxAge limits the age of busy connections, too: not every server closes them.
	maxAge = 30 * time.Second
	// dropInterval limits how often idle connections are dropped because their colour is no longer live. All
	// requests in flight to that colour report it, and the new connections, to the live colour, must stay
	// usable.
	dropInterval = 50 * time.Millisecond
	// probeEvery is how often a service is probed while its breaker is open.
	probeEvery = time.Second
	// maxInFlight is the bulkhead: a slow service holds at most this many requests, so that the other
	// services aren't affected.
	maxInFlight = 256
	// maxResponseBytes limits a response, which is held in memory: pages of lists have some tens of KiB.
	maxResponseBytes = 4 << 20
	headerBytes      = 16 << 10
	// retryPause, plus as much jitter, gives a Service's endpoints time to change.
	retryPause = 10 * time.Millisecond
)

// Service is a service behind the gateway.
type Service struct {
	Name     string
	Breaker  *breaker.Breaker
	base     *url.URL
	signer   *identity.Signer
	client   *fasthttp.HostClient
	budget   *budget
	inFlight atomic.Int64
	dropped  atomic.Int64 // when idle connections were last dropped: Unix time in ns

	retries, refused, full prometheus.Counter
}

// New returns the service called name at base. signer signs the identity of callers.
func New(name string, base *url.URL, signer *identity.Signer, registry prometheus.Registerer) *Service {
	s := &Service{
		Name:    name,
		Breaker: breaker.New(name),
		base:    base,
		signer:  signer,
		client: &fasthttp.HostClient{
			Addr:                      fasthttp.AddMissingPort(base.Host, base.Scheme == "https"),
			IsTLS:                     base.Scheme == "https",
			Dial:                      dialFunc(),
			MaxConns:                  maxInFlight,
			MaxIdleConnDuration:       idleTimeout,
			MaxConnDuration:           maxAge,
			ReadBufferSize:            headerBytes,
			MaxResponseBodySize:       maxResponseBytes,
			MaxIdemponentCallAttempts: 1, // exchange decides about retries
			NoDefaultUserAgentHeader:  true,
			DisablePathNormalizing:    true,
		},
		budget: newBudget(),
	}
	s.register(registry)
	return s
}

// exchange sends request and waits for response. It may send a replayable request twice. Its errors may be
// sent to a client.
func (s *Service) exchange(request *fasthttp.Request, response *fasthttp.Response, replayable bool) error {
	if s.inFlight.Add(1) > maxInFlight {
		s.inFlight.Add(-1)
		s.full.Inc()
		return problem.New(problem.Unavailable, "The service is overloaded right now.",
			fmt.Errorf("%s has %d requests in flight", s.Name, maxInFlight))
	}
	defer s.inFlight.Add(-1)

	s.budget.earn()
	end := time.Now().Add(deadline)
	err := s.try(request, response, deadline)
	if err != nil && mayRetry(err, replayable) && s.budget.spend() {
		s.retries.Inc()
		time.Sleep(retryPause + rand.N(retryPause))
		err = s.try(request, response, time.Until(end))
	}
	return client.Failure(s.Name, err)
}

// try sends the request once if the breaker allows it.
func (s *Service) try(request *fasthttp.Request, response *fasthttp.Response, timeout time.Duration) error {
	ok, retryAfter := s.Breaker.Allow()
	if !ok {
		s.refused.Inc()
		return client.Refused(s.Name, retryAfter)
	}
	request.SetTimeout(max(timeout, time.Millisecond)) // 0 means no timeout
	err := s.do(request, response)
	if err != nil || client.Faulty(response.StatusCode(), string(response.Header.Peek("Retry-After"))) {
		s.Breaker.Failed()
	} else {
		s.Breaker.Succeeded()
	}
	return err
}

// do sends the request once. It replaces connections that the service closed while they were idle.
func (s *Service) do(request *fasthttp.Request, response *fasthttp.Response) error {
	err := s.client.Do(request, response)
	for errors.Is(err, errStale) { // ends: each iteration removes a stale connection
		err = s.client.Do(request, response)
	}
	if err == nil && string(response.Header.Peek(live.Header)) == live.Lost {
		// The idle connections, too, may go to a colour that is no longer live. The service closes those in use after their
		// response.
		last, now := s.dropped.Load(), time.Now().UnixNano()
		if now-last >= int64(dropInterval) && s.dropped.CompareAndSwap(last, now) {
			s.client.CloseIdleConnections()
		}
	}
	return err
}

// mayRetry reports whether a retry may succeed and does no harm: nothing was sent, or the request may be sent
// twice. After a timeout there is no time left.
func mayRetry(err error, replayable bool) bool {
	if _, isProblem := errors.AsType[*problem.Error](err); isProblem {
		return false
	}
	return client.NotConnected(err) || replayable && !client.TimedOut(err) && !errors.Is(err, fasthttp.ErrBodyTooLarge)
}

// register registers the metrics of the service.
func (s *Service) register(registry prometheus.Registerer) {
	auto := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"service": s.Name}, registry))
	auto.NewGaugeFunc(prometheus.GaugeOpts{Name: "gateway_breaker_state", Help: "0 closed, 1 half-open, 2 open."},
		func() float64 { return float64(s.Breaker.State()) })
	auto.NewGaugeFunc(prometheus.GaugeOpts{Name: "gateway_in_flight_requests", Help: "Requests in flight to the service."},
		func() float64 { return float64(s.inFlight.Load()) })
	rejections := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "gateway_rejections_total",
		Help: "Requests that were not sent to a service: its breaker was open, or too many were in flight (bulkhead).",
	}, []string{"reason"})
	s.retries = auto.NewCounter(prometheus.CounterOpts{Name: "gateway_retries_total", Help: "Requests that were sent to a service again."})
	s.refused, s.full = rejections.WithLabelValues("breaker"), rejections.WithLabelValues("bulkhead")
}
