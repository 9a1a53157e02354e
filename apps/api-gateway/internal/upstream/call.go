package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"platform.example/apps/internal/telemetry"
)

// Call sends in as JSON (nil: nothing) and reads the answer, where its status
// is below 300, into out (nil: nowhere). It returns the status. Errors are
// those that a client may be told.
func (s *Service) Call(ctx context.Context, method, path string, in, out any) (status int, err error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	s.address(request, method, s.base.Path+path)
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return 0, fmt.Errorf("encoding a request to %s: %w", s.name, err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.SetBodyRaw(body)
	}
	telemetry.PropagateTo(ctx, carrier{&request.Header})
	if err := s.exchange(request, response, method == http.MethodGet); err != nil {
		return 0, err
	}
	if response.StatusCode() >= http.StatusMultipleChoices || out == nil {
		return response.StatusCode(), nil
	}
	if err := json.Unmarshal(response.Body(), out); err != nil {
		return 0, s.failure(fmt.Errorf("reading its answer: %w", err))
	}
	return response.StatusCode(), nil
}

// Probe reports whether the service answers that it is well. It goes past the
// breaker, which must be opened and closed by what clients see.
func (s *Service) Probe(ctx context.Context) error {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	s.address(request, http.MethodGet, s.base.Path+"/health")
	request.SetTimeout(deadline)
	if end, ok := ctx.Deadline(); ok {
		request.SetTimeout(time.Until(end))
	}
	if err := s.client.Do(request, response); err != nil {
		return s.failure(err)
	}
	if response.StatusCode() != http.StatusOK {
		return fmt.Errorf("%s answers %d", s.name, response.StatusCode())
	}
	return nil
}
