package upstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"platform.example/apps/internal/dial"
)

// checkAfter is how long a connection may be idle before it is checked when it is used again. Under load
// connections are idle for less, and the check, a system call, is saved.
const checkAfter = time.Millisecond

// errStale means that the service had closed the connection before anything was sent on it: any request may
// be sent on another connection.
var errStale = errors.New("the connection was closed while it was idle")

// conn is a connection that detects, before it is used again, that the service has closed it, for example at
// a stop. fasthttp alone would detect it while waiting for the response, and couldn't tell whether the
// request was read.
type conn struct {
	net.Conn
	socket *dial.Idle
	idle   time.Time // start of the idle time; zero while a request is in flight
}

// refusedFor is how long a refused connection is retried: a cluster's routing and firewall take time to
// follow a change of a Service's pods.
const refusedFor = 250 * time.Millisecond

// dialFunc returns a function that opens connections to one service.
func dialFunc() func(addr string) (net.Conn, error) {
	dialer := &dial.Dialer{}
	return func(addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		for start := time.Now(); ; time.Sleep(retryPause + rand.N(retryPause)) {
			c, err := dialer.DialContext(ctx, "tcp", addr)
			switch {
			case err == nil:
				socket, err := dial.NewIdle(c)
				if err != nil {
					return nil, errors.Join(err, c.Close())
				}
				return &conn{Conn: c, socket: socket}, nil
			case !errors.Is(err, syscall.ECONNREFUSED) || time.Since(start) > refusedFor:
				return nil, err
			}
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	if !c.idle.IsZero() && time.Since(c.idle) > checkAfter && c.socket.Read(nil) != nil {
		return 0, errStale
	}
	c.idle = time.Time{}
	return c.Conn.Write(p)
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.idle = time.Now()
	return n, err
}
