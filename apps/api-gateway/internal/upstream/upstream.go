// Package upstream reaches one service behind the gateway: with sized pools, a
// deadline, and problem answers where it fails.
package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/telemetry"
)

const (
	deadline    = 5 * time.Second // for a whole exchange, bodies included
	dialTimeout = time.Second
	// Shorter than the servers' idle timeout of 60 s, so that it is this side
	// that closes; and short, because an idle connection sticks to the colour
	// that it was opened to.
	idleTimeout  = 15 * time.Second
	maxIdleConns = 128
	// More requests than this at once wait for a connection, up to the deadline.
	maxConns       = 256
	maxHeaderBytes = 16 << 10
	// maxAnswerBytes bounds an answer that the gateway itself reads.
	maxAnswerBytes = 64 << 10
)

// Service is a service behind the gateway.
type Service struct {
	name      string
	base      *url.URL
	transport *http.Transport
	proxy     http.Handler
}

// New returns the service of that name at base.
func New(name string, base *url.URL, errs *problem.Mapper) *Service {
	s := &Service{
		name: name,
		base: base,
		transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			MaxIdleConns:           maxIdleConns,
			MaxIdleConnsPerHost:    maxIdleConns,
			MaxConnsPerHost:        maxConns,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			DisableCompression:     true, // passed on as it is
		},
	}
	s.proxy = s.newProxy(errs)
	return s
}

// Name is what the service is called.
func (s *Service) Name() string { return s.name }

// Close closes the connections that are idle.
func (s *Service) Close() { s.transport.CloseIdleConnections() }

// Probe reports whether the service answers that it is well.
func (s *Service) Probe(ctx context.Context) error {
	response, err := s.send(ctx, http.MethodGet, "/health", nil)
	if err != nil {
		return err
	}
	defer discard(response)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", s.name, response.Status)
	}
	return nil
}

// Post sends in as JSON and reads the answer, where it is 200, into out. It
// returns the status. Errors are those that a client may be told.
func (s *Service) Post(ctx context.Context, path string, in, out any) (status int, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, fmt.Errorf("encoding a request to %s: %w", s.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	response, err := s.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return 0, failure(s.name, err)
	}
	defer discard(response)
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, nil
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(out); err != nil {
		return 0, failure(s.name, fmt.Errorf("reading its answer: %w", err))
	}
	return response.StatusCode, nil
}

func (s *Service) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	telemetry.Propagate(ctx, request.Header)
	return s.transport.RoundTrip(request)
}

// discard reads the little that is left, so that the connection can be used again.
func discard(response *http.Response) {
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswerBytes)
	_ = response.Body.Close()
}

// failure says why a service gave no answer.
func failure(name string, err error) error {
	err = fmt.Errorf("asking %s: %w", name, err)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge // the client's body, met while it was passed on
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return problem.New(problem.Unavailable, "The service is not available right now.", err)
	}
	if network, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && network.Timeout() {
		return problem.New(problem.Timeout, "The service did not answer in time.", err)
	}
	return problem.New(problem.BadGateway, "The service gave no valid answer.", err)
}
