// Package upstream reaches one service behind the gateway, and keeps its
// troubles from spreading: a deadline, a bound on requests at once (bulkhead),
// a circuit breaker, retries within a budget, and problem answers where it fails.
//
// The client is fasthttp's because it writes and reads in the goroutine of the
// request: net/http's hands each exchange to two more, which costs the gateway
// half of its throughput. A request is sent, and an answer passed on, once it is
// wholly there: both are bounded, and neither side can hold up the other.
package upstream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/valyala/fasthttp"

	"platform.example/apps/api-gateway/internal/breaker"
	"platform.example/apps/internal/client"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/problem"
)

const (
	deadline    = 5 * time.Second // for a whole exchange, retries included
	dialTimeout = time.Second
	// Shorter than the servers' idle timeout of 60 s, so that it is this side
	// that closes; and short, because an idle connection sticks to the colour
	// that it was opened to: its next request, whenever that comes, would be
	// answered by a colour that was taken back.
	idleTimeout = 400 * time.Millisecond
	// maxAge bounds it for a busy one, too: not every server closes by itself.
	maxAge = 30 * time.Second
	// leaveEvery bounds how often idle connections are dropped because the colour
	// they were opened to has lost the switch. All that it has in hand says so, and
	// connections opened meanwhile, to the live one, are to be of use.
	leaveEvery = 50 * time.Millisecond
	// probeEvery is how often a service is probed while its breaker is open.
	probeEvery = time.Second
	// maxInFlight is the bulkhead: a service that has become slow holds so many
	// requests and no more, so that the others find the gateway as it was.
	maxInFlight = 256
	// maxAnswerBytes bounds an answer, which is held in memory: pages of lists
	// have some tens of KiB.
	maxAnswerBytes = 4 << 20
	headerBytes    = 16 << 10
	// retryPause, with as much jitter, lets a Service's endpoints follow.
	retryPause = 10 * time.Millisecond
)

// Service is a service behind the gateway.
type Service struct {
	name     string
	base     *url.URL
	signer   *identity.Signer
	client   *fasthttp.HostClient
	breaker  *breaker.Breaker
	budget   *budget
	inFlight atomic.Int64
	left     atomic.Int64 // when connections were last dropped for a lost switch: Unix time in ns
	metrics  serviceMetrics
}

// New returns the service of that name at base. Signer signs who is asking.
func New(name string, base *url.URL, signer *identity.Signer, metrics *Metrics) *Service {
	s := &Service{
		name:   name,
		base:   base,
		signer: signer,
		client: &fasthttp.HostClient{
			Addr:                      fasthttp.AddMissingPort(base.Host, base.Scheme == "https"),
			IsTLS:                     base.Scheme == "https",
			Dial:                      dialing(),
			MaxConns:                  maxInFlight,
			MaxIdleConnDuration:       idleTimeout,
			MaxConnDuration:           maxAge,
			ReadBufferSize:            headerBytes,
			MaxResponseBodySize:       maxAnswerBytes,
			MaxIdemponentCallAttempts: 1, // what is tried again is decided here
			NoDefaultUserAgentHeader:  true,
			DisablePathNormalizing:    true,
		},
		breaker: breaker.New(name),
		budget:  newBudget(),
	}
	s.metrics = metrics.of(s)
	return s
}

// Name is what the service is called.
func (s *Service) Name() string { return s.name }

// Breaker is the circuit breaker of the service.
func (s *Service) Breaker() *breaker.Breaker { return s.breaker }

// Close closes the connections that are idle.
func (s *Service) Close() { s.client.CloseIdleConnections() }

// exchange sends request and waits for response. What is replayable may be
// sent twice. Errors are those that a client may be told.
func (s *Service) exchange(request *fasthttp.Request, response *fasthttp.Response, replayable bool) error {
	if s.inFlight.Add(1) > maxInFlight {
		s.inFlight.Add(-1)
		s.metrics.full.Inc()
		return problem.New(problem.Unavailable, "The service has too much to do right now.",
			fmt.Errorf("%s has %d requests in hand", s.name, maxInFlight))
	}
	defer s.inFlight.Add(-1)

	s.budget.earn()
	end := time.Now().Add(deadline)
	err := s.try(request, response, deadline)
	if err != nil && mayRetry(err, replayable) && s.budget.spend() {
		s.metrics.retries.Inc()
		time.Sleep(retryPause + rand.N(retryPause))
		err = s.try(request, response, time.Until(end))
	}
	return client.Failure(s.name, err)
}

// try asks once, if the breaker lets it.
func (s *Service) try(request *fasthttp.Request, response *fasthttp.Response, timeout time.Duration) error {
	ok, retryAfter := s.breaker.Allow()
	if !ok {
		s.metrics.refused.Inc()
		return &problem.Error{
			Code: problem.Unavailable, Sentence: "The service is not available right now.", RetryAfter: retryAfter,
			Cause: fmt.Errorf("the circuit breaker of %s is open", s.name),
		}
	}
	request.SetTimeout(max(timeout, time.Millisecond)) // 0 would be none
	err := s.do(request, response)
	if err != nil || faulty(response) {
		s.breaker.Failed()
	} else {
		s.breaker.Succeeded()
	}
	return err
}

// do asks once, whatever became of connections that were idle.
func (s *Service) do(request *fasthttp.Request, response *fasthttp.Response) error {
	err := s.client.Do(request, response)
	for errors.Is(err, errStale) { // ends: each such connection is gone then
		err = s.client.Do(request, response)
	}
	if err == nil && string(response.Header.Peek(live.Header)) == live.Lost {
		s.leave()
	}
	return err
}

// leave drops the connections that are idle: they, too, may lead to a colour
// that is no longer live. Those in use end after the answer, by the service.
func (s *Service) leave() {
	last, now := s.left.Load(), time.Now().UnixNano()
	if now-last >= int64(leaveEvery) && s.left.CompareAndSwap(last, now) {
		s.client.CloseIdleConnections()
	}
}

// faulty reports whether an answer shows that the service is broken. One that
// says itself when to come again is not: it manages its troubles, and what it
// can do without the part that is away it still does.
func faulty(response *fasthttp.Response) bool {
	status := response.StatusCode()
	return status >= http.StatusInternalServerError &&
		(status != http.StatusServiceUnavailable || len(response.Header.Peek("Retry-After")) == 0)
}

// mayRetry reports whether another try can help and do no harm: nothing was
// sent, or what was may be sent twice. A timeout has used up the time.
func mayRetry(err error, replayable bool) bool {
	if _, ours := errors.AsType[*problem.Error](err); ours {
		return false
	}
	return client.NotConnected(err) || replayable && !client.TimedOut(err) && !errors.Is(err, fasthttp.ErrBodyTooLarge)
}

// Metrics are those of all services.
type Metrics struct {
	registry  prometheus.Registerer
	retries   *prometheus.CounterVec
	rejection *prometheus.CounterVec
}

// NewMetrics registers the metrics of services behind the gateway.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	auto := promauto.With(registry)
	return &Metrics{
		registry: registry,
		retries: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_retries_total", Help: "Requests that were sent to a service a second time.",
		}, []string{"service"}),
		rejection: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_rejections_total",
			Help: "Requests that a service was spared: its breaker was open, or it had too many in hand (bulkhead).",
		}, []string{"service", "reason"}),
	}
}

type serviceMetrics struct{ retries, refused, full prometheus.Counter }

func (m *Metrics) of(s *Service) serviceMetrics {
	gauge := func(name, help string, value func() float64) {
		promauto.With(m.registry).NewGaugeFunc(prometheus.GaugeOpts{
			Name: name, Help: help, ConstLabels: prometheus.Labels{"service": s.name},
		}, value)
	}
	gauge("gateway_breaker_state", "0 closed, 1 half-open, 2 open.",
		func() float64 { return float64(s.breaker.State()) })
	gauge("gateway_in_flight_requests", "Requests that the service has in hand.",
		func() float64 { return float64(s.inFlight.Load()) })
	return serviceMetrics{
		retries: m.retries.WithLabelValues(s.name),
		refused: m.rejection.WithLabelValues(s.name, "breaker"),
		full:    m.rejection.WithLabelValues(s.name, "bulkhead"),
	}
}
