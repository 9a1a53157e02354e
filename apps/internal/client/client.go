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

// Client sends requests to one service.
type Client struct {
	name, base string
	signer     *identity.Signer
	observe    func(telemetry.Request)
	http       http.Client
}

// New returns a client of the service of that name at base, such as http://user-service:8080. The signer signs who the caller is.
func New(name string, base *url.URL, signer *identity.Signer, registry prometheus.Registerer) *Client {
	return &Client{name, base.String(), signer, telemetry.CallMetrics(registry, name), http.Client{ // an idle connection stays with its colour; another host must not get the identity
		Transport:     &http.Transport{DialContext: (&dial.Dialer{}).DialContext, IdleConnTimeout: 400 * time.Millisecond, MaxResponseHeaderBytes: 16 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Get reads the answer to a GET of path by the caller into out; nil discards it. Errors are the service's own problem, or Unavailable, Timeout or BadGateway.
func (c *Client) Get(ctx context.Context, path string, caller identity.Caller, out any) error {
	return c.send(ctx, http.MethodGet, path, caller, nil, out)
}

// Post sends in as JSON. It is otherwise as Get.
func (c *Client) Post(ctx context.Context, path string, caller identity.Caller, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding a request to %s: %w", c.name, err)
	}
	return c.send(ctx, http.MethodPost, path, caller, body, out)
}

func (c *Client) send(ctx context.Context, method, path string, caller identity.Caller, body []byte, out any) (err error) {
	if _, bounded := ctx.Deadline(); !bounded {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		ctx = limited
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	signed, unsigned := c.signer.Sign(caller, c.name)
	if err != nil || unsigned != nil {
		return cmp.Or(err, unsigned)
	}
	request.Header = http.Header{identity.Header: {signed}, "Content-Type": {"application/json"}}
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
