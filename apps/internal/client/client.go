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
