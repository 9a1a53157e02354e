package client

import (
	"errors"
	"fmt"
	"net"

	"platform.example/apps/internal/problem"
)

// Failure returns the error of a request to a service as a client may see it: the service's own problem, or the reason why
// there is no answer. It returns nil if err is nil.
func Failure(service string, err error) error {
	if _, ours := errors.AsType[*problem.Error](err); ours || err == nil {
		return err
	}
	err = fmt.Errorf("asking %s: %w", service, err)
	switch {
	case NotConnected(err):
		return problem.New(problem.Unavailable, "The service is not available right now.", err)
	case TimedOut(err):
		return problem.New(problem.Timeout, "The service did not answer in time.", err)
	default:
		return problem.New(problem.BadGateway, "The service gave no valid answer.", err)
	}
}

// NotConnected reports whether a request failed before anything was sent.
func NotConnected(err error) bool {
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial"
}

// TimedOut reports whether a request has used up its time.
func TimedOut(err error) bool {
	timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && timeout.Timeout()
}
