package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"platform.example/apps/api-gateway/internal/breaker"
	"platform.example/apps/internal/background"
	"platform.example/apps/internal/client"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/telemetry"
)

// Client is who asks for what the gateway does at a service.
type Client struct{ Address, Agent string }

// Post sends in as JSON for a client and reads the answer, where its status is below 300,
// into out (nil: nowhere). It returns the status. Errors are those that a
// client may be told.
func (s *Service) Post(ctx context.Context, path string, from Client, in, out any) (status int, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, fmt.Errorf("encoding a request to %s: %w", s.name, err)
	}
	return s.ask(ctx, path, identity.Caller{Role: identity.Gateway}, out, func(request *fasthttp.Request, response *fasthttp.Response) error {
		request.Header.SetMethod(http.MethodPost)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Forwarded-For", from.Address)
		request.Header.SetUserAgent(from.Agent)
		request.SetBodyRaw(body)
		return s.exchange(request, response, false)
	})
}

// Get reads what a service answers a GET of path by the caller into out. Its errors
// may be returned to a client.
func (s *Service) Get(ctx context.Context, path string, caller identity.Caller, out any) error {
	if err := ctx.Err(); err != nil { // the client has left
		return problem.New(problem.Unavailable, "The client has left.", err)
	}
	status, err := s.ask(ctx, path, caller, out, func(request *fasthttp.Request, response *fasthttp.Response) error {
		return s.exchange(request, response, true)
	})
	if err != nil || status == http.StatusOK {
		return err
	}
	cause := fmt.Errorf("%s answers %d", s.name, status)
	switch status {
	case http.StatusNotFound:
		return problem.New(problem.NotFound, "There is nothing with this id.", cause)
	case http.StatusServiceUnavailable:
		return problem.New(problem.Unavailable, "The service is not available right now.", cause)
	}
	return client.Failure(s.name, cause)
}

// ask sends a request, a GET unless send makes it another, and reads the answer
// into out where its status is below 300.
func (s *Service) ask(ctx context.Context, path string, caller identity.Caller, out any,
	send func(*fasthttp.Request, *fasthttp.Response) error) (status int, err error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	s.address(request, http.MethodGet, s.base.Path+path)
	if err := s.identify(request, caller); err != nil {
		return 0, err
	}
	telemetry.Propagate(ctx, carrier{&request.Header})
	if err := send(request, response); err != nil {
		return 0, client.Failure(s.name, err)
	}
	if response.StatusCode() >= http.StatusMultipleChoices || out == nil {
		return response.StatusCode(), nil
	}
	if err := json.Unmarshal(response.Body(), out); err != nil {
		return 0, client.Failure(s.name, fmt.Errorf("reading its answer: %w", err))
	}
	return response.StatusCode(), nil
}

// Poll reads what a service answers a GET of path into out (nil: nowhere). It
// is for what the gateway asks for itself, again and again: it goes past the
// breaker, which must be opened and closed by what clients see, and not by
// polls of a service that is yet to start.
func (s *Service) Poll(ctx context.Context, path string, out any) error {
	status, err := s.ask(ctx, path, identity.Caller{Role: identity.Gateway}, out, func(request *fasthttp.Request, response *fasthttp.Response) error {
		request.SetTimeout(deadline)
		if end, ok := ctx.Deadline(); ok {
			request.SetTimeout(max(time.Until(end), time.Millisecond)) // 0 would be none
		}
		return s.do(request, response)
	})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answers %d", s.name, status)
	}
	return err
}

// Watch probes the service while its breaker is open, until ctx is done: once
// it is well, a request may try.
func (s *Service) Watch(ctx context.Context) {
	background.Every(ctx, probeEvery, func() {
		if s.breaker.State() != breaker.Open {
			return
		}
		limited, cancel := context.WithTimeout(ctx, probeEvery)
		defer cancel()
		if s.Probe(limited) == nil {
			s.breaker.Ready()
		}
	})
}

// Probe reports whether the service answers that it is well.
func (s *Service) Probe(ctx context.Context) error { return s.Poll(ctx, "/health", nil) }
