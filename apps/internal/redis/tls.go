package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"platform.example/apps/internal/dial"
)

// Dialer returns a function that opens connections for go-redis, with TLS unless secured is nil. The server's name is
// the host of the address unless secured has one. timeout includes the TLS handshake.
//
// go-redis' own TLS dialer goes on after the command has given up, and can't check a connection before its
// use: each pooled connection that the server has closed would fail a command.
func Dialer(secured *tls.Config, timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialers sync.Map // by address
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		dialer, _ := dialers.LoadOrStore(addr, &dial.Dialer{Dialer: net.Dialer{KeepAlive: dial.KeepAlive}})
		connection, err := dialer.(*dial.Dialer).DialContext(ctx, network, addr)
		if err != nil || secured == nil {
			return connection, err
		}
		opened, err := handshake(ctx, connection, secured, addr)
		if err != nil {
			_ = connection.Close()
			return nil, fmt.Errorf("TLS with Redis at %s: %w", addr, err)
		}
		return opened, nil
	}
}

func handshake(ctx context.Context, connection net.Conn, secured *tls.Config, addr string) (net.Conn, error) {
	socket, err := dial.NewIdle(connection)
	if err != nil {
		return nil, err
	}
	if secured.ServerName == "" {
		secured = secured.Clone()
		secured.ServerName, _, _ = net.SplitHostPort(addr)
	}
	encrypted := tls.Client(connection, secured)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return conn{Conn: encrypted, socket: socket}, nil
}

// conn is a TLS connection with the method SyscallConn, which tls.Conn lacks. go-redis calls it before each
// use to check that the connection is open. Waiting bytes don't show that, because TLS may send a ticket at any time.
type conn struct {
	*tls.Conn
	socket *dial.Idle
}

// SyscallConn returns the socket of the connection.
func (c conn) SyscallConn() (syscall.RawConn, error) { return c.socket, nil }
