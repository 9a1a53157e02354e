package client

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"platform.example/apps/internal/problem"
)

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
