// Package client sends requests from one service of the platform to another.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"

	"platform.example/apps/internal/breaker"
	"platform.example/apps/internal/dial"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/telemetry"
)

const (
	timeout          = 3 * time.Second // of a request whose context has no deadline
	retryAfter       = time.Second     // until a request tries again after failures have opened the breaker
	maxResponseBytes = 1 << 20
)

// Client sends requests to one service on behalf of the caller of a request.
type Client struct {
	name, base string
	observe    func(telemetry.Request)
	breaker    *breaker.Breaker
	http       http.Client
}

// New returns a client of the service called name at base, such as http://user-service:8080.
func New(name string, base *url.URL, registry prometheus.Registerer) *Client {
	return &Client{name, base.String(), telemetry.CallMetrics(registry, name), breaker.New(name), http.Client{
		Transport: &http.Transport{
			DialContext: (&dial.Dialer{}).DialContext, MaxResponseHeaderBytes: 16 << 10, DisableCompression: true,
			IdleConnTimeout: 400 * time.Millisecond, // a kept connection still goes to the previous colour after a switch
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // never sends the identity to another host
	}}
}

// Get sends a GET request for path with the identity of the caller of r, and decodes the response into out,
// which may be nil. It uses the deadline of r, or 3 s. Its error is the problem that the service sent, or
// problem.Unavailable, Timeout or BadGateway. After a few failures in a row, requests fail at once.
func (c *Client) Get(r *http.Request, path string, out any) error {
	return c.send(r, http.MethodGet, path, nil, out)
}

// Post sends in as JSON. Otherwise it is like Get.
func (c *Client) Post(r *http.Request, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding a request to %s: %w", c.name, err)
	}
	return c.send(r, http.MethodPost, path, body, out)
}

func (c *Client) send(r *http.Request, method, path string, body []byte, out any) (err error) {
	ctx := r.Context()
	if _, bounded := ctx.Deadline(); !bounded {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		ctx = limited
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header = http.Header{identity.Header: r.Header[identity.Header], "Content-Type": {"application/json"}}
	telemetry.Propagate(ctx, propagation.HeaderCarrier(request.Header))
	if ok, wait := c.breaker.Allow(); !ok {
		return Refused(c.name, wait)
	}
	start, call := time.Now(), telemetry.Request{}
	response, err := c.http.Do(request)
	var content []byte
	if err == nil {
		defer func() { _ = response.Body.Close() }()
		if call.Status = response.StatusCode; response.Header.Get(live.Header) == live.Lost {
			c.http.CloseIdleConnections()
		}
		content, err = io.ReadAll(http.MaxBytesReader(nil, response.Body, maxResponseBytes))
	}
	call.Duration = time.Since(start)
	c.observe(call)
	switch {
	case errors.Is(ctx.Err(), context.Canceled) && c.breaker.State() == breaker.Closed: // the caller has left
	case err != nil, Faulty(call.Status, response.Header.Get("Retry-After")):
		c.breaker.Failed()
		time.AfterFunc(retryAfter, c.breaker.Ready)
	default:
		c.breaker.Succeeded()
	}
	if err == nil && call.Status >= http.StatusMultipleChoices {
		err = cmp.Or(problem.Read(response, content), fmt.Errorf("the status is %s", response.Status))
	} else if err == nil && out != nil {
		err = json.Unmarshal(content, out)
	}
	return Failure(c.name, err)
}

// Failure returns the error of a request to a service in the form that a client may see: a *problem.Error. It
// returns a problem that the service sent unchanged, and nil if err is nil.
func Failure(service string, err error) error {
	if _, isProblem := errors.AsType[*problem.Error](err); isProblem || err == nil {
		return err
	}
	err = fmt.Errorf("calling %s: %w", service, err)
	switch {
	case NotConnected(err):
		return problem.New(problem.Unavailable, "The service is not available right now.", err)
	case TimedOut(err):
		return problem.New(problem.Timeout, "The service did not respond in time.", err)
	default:
		return problem.New(problem.BadGateway, "The service sent no valid response.", err)
	}
}

// Refused returns the error of a request that isn't sent because the circuit breaker of the service is open.
func Refused(service string, retryAfter time.Duration) error {
	return &problem.Error{
		Code: problem.Unavailable, Sentence: "The service is not available right now.", RetryAfter: retryAfter,
		Cause: fmt.Errorf("the circuit breaker of %s is open", service),
	}
}

// Faulty reports whether a response shows that the service is broken. A 503 with Retry-After doesn't: the
// service handles its outage, and still does what it can do without the missing dependency.
func Faulty(status int, retryAfter string) bool {
	return status >= http.StatusInternalServerError && (status != http.StatusServiceUnavailable || retryAfter == "")
}

// NotConnected reports whether a request failed before a connection was open.
func NotConnected(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial"
}

// TimedOut reports whether a request failed because its time was over.
func TimedOut(err error) bool {
	timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && timeout.Timeout()
}
