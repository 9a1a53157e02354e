package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/breaker"
	"platform.example/apps/internal/client"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
)

// Client is the client on whose behalf the gateway sends a request.
type Client struct {
	Address, Agent string
	IDToken        string // hash of the ID token that it signs in with
}

// Post sends in as JSON on behalf of a client. If the status is below 300, it decodes the response into out,
// which may be nil. It returns the status. Its errors may be sent to a client.
func (s *Service) Post(ctx context.Context, path string, from Client, in, out any) (status int, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, fmt.Errorf("encoding a request to %s: %w", s.Name, err)
	}
	return s.send(ctx, path, identity.Caller{Role: identity.Gateway}, out, func(request *fasthttp.Request, response *fasthttp.Response) error {
		request.Header.SetMethod(http.MethodPost)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Forwarded-For", from.Address)
		request.Header.SetUserAgent(from.Agent)
		request.Header.Set("X-Id-Token", from.IDToken)
		request.SetBodyRaw(body)
		return s.exchange(request, response, false)
	})
}

// Get sends a GET request for path with the identity of the caller, and decodes the response into out. Its
// errors may be sent to a client.
func (s *Service) Get(ctx context.Context, path string, caller identity.Caller, out any) error {
	if err := ctx.Err(); err != nil { // the client has left
		return problem.New(problem.Unavailable, "The client has left.", err)
	}
	status, err := s.send(ctx, path, caller, out, func(request *fasthttp.Request, response *fasthttp.Response) error {
		return s.exchange(request, response, true)
	})
	if err != nil || status == http.StatusOK {
		return err
	}
	cause := fmt.Errorf("%s responds with %d", s.Name, status)
	switch status {
	case http.StatusNotFound:
		return problem.New(problem.NotFound, "There is no resource with this id.", cause)
	case http.StatusServiceUnavailable:
		return problem.New(problem.Unavailable, "The service is not available right now.", cause)
	}
	return client.Failure(s.Name, cause)
}

// send prepares a GET request, which do may change and sends. If the status is below 300, it decodes the
// response into out.
func (s *Service) send(ctx context.Context, path string, caller identity.Caller, out any,
	do func(*fasthttp.Request, *fasthttp.Response) error) (status int, err error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	if err := s.prepare(ctx, request, http.MethodGet, s.base.Path+path, caller); err != nil {
		return 0, err
	}
	if err := do(request, response); err != nil {
		return 0, client.Failure(s.Name, err)
	}
	if response.StatusCode() >= http.StatusMultipleChoices || out == nil {
		return response.StatusCode(), nil
	}
	if err := json.Unmarshal(response.Body(), out); err != nil {
		return 0, client.Failure(s.Name, fmt.Errorf("decoding its response: %w", err))
	}
	return response.StatusCode(), nil
}

// Poll sends a GET request for path as the gateway itself, and decodes the response into out, which may be
// nil. It is for repeated requests of the gateway. It bypasses the breaker, whose state must depend on
// requests of clients, not on polls of a service that hasn't started yet.
func (s *Service) Poll(ctx context.Context, path string, out any) error {
	status, err := s.send(ctx, path, identity.Caller{Role: identity.Gateway}, out, func(request *fasthttp.Request, response *fasthttp.Response) error {
		request.SetTimeout(deadline)
		if end, ok := ctx.Deadline(); ok {
			request.SetTimeout(max(time.Until(end), time.Millisecond)) // 0 means no timeout
		}
		return s.do(request, response)
	})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s responds with %d", s.Name, status)
	}
	return err
}

// Watch probes the service while its breaker is open, until ctx is done. A successful probe lets a request
// try.
func (s *Service) Watch(ctx context.Context) {
	background.Every(ctx, probeEvery, func() {
		if s.Breaker.State() != breaker.Open {
			return
		}
		limited, cancel := context.WithTimeout(ctx, probeEvery)
		defer cancel()
		if s.Probe(limited) == nil {
			s.Breaker.Ready()
		}
	})
}

// Probe returns nil if the service reports that it is healthy.
func (s *Service) Probe(ctx context.Context) error { return s.Poll(ctx, "/health", nil) }
