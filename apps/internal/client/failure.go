package client

import (
	"errors"
	"fmt"
	"net"

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
