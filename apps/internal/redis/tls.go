package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"platform.example/apps/internal/dial"
)

// clientTLS is how to speak TLS with the server at addr, host:port, whose
// certificate must stand for that host; nil authorities are the system's roots.
func clientTLS(addr string, authorities *x509.CertPool) *tls.Config {
	host, _, _ := net.SplitHostPort(addr) // what is no address is a fault of the configuration already
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: host,
		RootCAs:    authorities,
		// Connections come and go with the load, and all at once after an outage: Redis resumes a session without
		// signing anything anew.
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
}

// Dialer opens connections to one address for go-redis, with TLS unless secured is nil; the
// timeout is for all of it.
//
// What go-redis does by itself would not do for TLS: it goes on when the command
// has been given up, and can't look at the connection before it is used. Then
// each one of the pool that the server has closed would cost a command its only try.
func Dialer(secured *tls.Config, timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := (&dial.Dialer{Dialer: net.Dialer{Timeout: timeout, KeepAlive: dial.KeepAlive}}).DialContext
	if secured == nil {
		return plain
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		connection, err := plain(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		opened, err := handshake(ctx, connection, secured)
		if err != nil {
			_ = connection.Close()
			return nil, fmt.Errorf("TLS with Redis at %s: %w", addr, err)
		}
		return opened, nil
	}
}

func handshake(ctx context.Context, connection net.Conn, secured *tls.Config) (net.Conn, error) {
	socket, err := connection.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	encrypted := tls.Client(connection, secured)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return conn{Conn: encrypted, socket: newIdle(socket)}, nil
}

// conn is a TLS connection that go-redis can ask, before each use, whether it
// is still open: it does so through SyscallConn, which tls.Conn doesn't have.
type conn struct {
	*tls.Conn
	socket *idle
}

// SyscallConn is what go-redis reads to see whether the connection is open.
func (c conn) SyscallConn() (syscall.RawConn, error) { return c.socket, nil }

// idle is the socket of a connection that is not in use. Whether bytes wait
// there says nothing: they may be what TLS itself sends at any time, such as a
// ticket. So the function that would look for some is never called.
//
// A connection is asked by whoever has it, one at a time and before every
// command, so that nothing is made anew for that.
type idle struct {
	syscall.RawConn
	look  func(fd uintptr)
	asked [1]unix.PollFd
	err   error
}

func newIdle(socket syscall.RawConn) *idle {
	i := &idle{RawConn: socket}
	i.look = func(fd uintptr) {
		i.asked[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP}
		for {
			if _, i.err = unix.Poll(i.asked[:], 0); !errors.Is(i.err, unix.EINTR) {
				return
			}
		}
	}
	return i
}

// Read fails with io.EOF where the server has closed the connection.
func (i *idle) Read(func(fd uintptr) bool) error {
	if err := i.Control(i.look); err != nil {
		return err
	}
	if i.err != nil {
		return i.err
	}
	if i.asked[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0 {
		return io.EOF
	}
	return nil
}
