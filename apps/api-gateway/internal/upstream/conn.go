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

// checkAfter is how long a connection may have been idle without being looked
// at before it is used again. Under load they are idle for less, and the look,
// a system call, is spared.
const checkAfter = time.Millisecond

// errStale says that the service had closed the connection before anything was
// sent on it: whatever the request, it can be sent on another.
var errStale = errors.New("the connection was closed while it was idle")

// conn is a connection that notices, before it is used again, that the service
// has closed it meanwhile, as one does that stops. fasthttp itself would notice
// when it waits for the answer, and couldn't tell whether the request was read.
type conn struct {
	net.Conn
	raw  syscall.RawConn
	idle time.Time // since when; zero: something was sent and not yet answered
}

// refusedFor is how long a connection that is refused is tried again: while a
// Service's pods change, a cluster's routing and firewall follow after a while.
const refusedFor = 250 * time.Millisecond

// dialing opens connections to one service.
func dialing() func(addr string) (net.Conn, error) {
	dialer := &dial.Dialer{}
	return func(addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		for began := time.Now(); ; time.Sleep(retryPause + rand.N(retryPause)) {
			c, err := dialer.DialContext(ctx, "tcp", addr)
			switch {
			case err == nil:
				return watched(c)
			case !errors.Is(err, syscall.ECONNREFUSED) || time.Since(began) > refusedFor:
				return nil, err
			}
		}
	}
}

func watched(c net.Conn) (net.Conn, error) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &conn{Conn: c, raw: raw}, nil
}

func (c *conn) Write(p []byte) (int, error) {
	if !c.idle.IsZero() && time.Since(c.idle) > checkAfter && c.closed() {
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

// closed reports whether the other side has closed the connection, without
// taking anything from it.
func (c *conn) closed() (closed bool) {
	err := c.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = n == 0 && err == nil || err != nil && !errors.Is(err, syscall.EAGAIN)
		return true
	})
	return closed || err != nil
}
