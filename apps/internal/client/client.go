// Package client sends requests from one service of the platform to another.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"

	"platform.example/apps/internal/dial"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/telemetry"
)

const (
	timeout        = 3 * time.Second // of a request whose context has no deadline
	maxAnswerBytes = 1 << 20
)

// Client sends requests to one service, on behalf of the caller of a request.
type Client struct {
	name, base string
	observe    func(telemetry.Request)
	http       http.Client
}

// New returns a client of the service of that name at base, such as http://user-service:8080.
func New(name string, base *url.URL, registry prometheus.Registerer) *Client {
	return &Client{name, base.String(), telemetry.CallMetrics(registry, name), http.Client{
		Transport: &http.Transport{
			DialContext: (&dial.Dialer{}).DialContext, MaxResponseHeaderBytes: 16 << 10,
			IdleConnTimeout: 400 * time.Millisecond, // an idle connection stays with the colour that it was opened to
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // no other host gets the identity
	}}
}

// Get sends a GET of path with the identity of the caller of r, and decodes the response into out; nil discards it. It has the
// deadline of r, or 3 s. An error is the service's own problem, or problem.Unavailable, Timeout or BadGateway.
func (c *Client) Get(r *http.Request, path string, out any) error {
	return c.send(r, http.MethodGet, path, nil, out)
}

// Post sends in as JSON. It is otherwise like Get.
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
	began, answer := time.Now(), telemetry.Request{}
	defer func() { answer.Duration = time.Since(began); c.observe(answer) }()
	response, err := c.http.Do(request)
	if err != nil {
		return Failure(c.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	if answer.Status = response.StatusCode; response.Header.Get(live.Header) == live.Lost {
		c.http.CloseIdleConnections()
	}
	content, err := io.ReadAll(http.MaxBytesReader(nil, response.Body, maxAnswerBytes))
	if err == nil && answer.Status >= http.StatusMultipleChoices {
		err = cmp.Or(problem.Read(response, content), fmt.Errorf("it answers %s", response.Status))
	} else if err == nil && out != nil {
		err = json.Unmarshal(content, out)
	}
	return Failure(c.name, err)
}
