// Package dial opens connections to a Service of the platform and caches its addresses, so that an outage of
// the cluster's DNS fails no request. It also checks whether idle connections are open.
package dial

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// KeepAlive is the interval of TCP keep-alive probes on connections to a store, as in pgx and go-redis.
const KeepAlive = 5 * time.Minute

const (
	// resolvedFor is how long addresses are used before they are resolved again: a Service keeps its address
	// as long as it exists, and a lookup for every connection would be most of the load of the cluster's DNS.
	resolvedFor = 30 * time.Second
	// retryAfter is the time between lookups while DNS doesn't respond.
	retryAfter    = time.Second
	lookupTimeout = 10 * time.Second
	// patience is how long a connection waits for a due lookup before it uses the cached addresses.
	patience = 100 * time.Millisecond
)

// Dialer opens connections to one host. It uses the cached addresses while a lookup doesn't respond.
type Dialer struct {
	net.Dialer // its Resolver, if it has one, resolves the host

	mu        sync.Mutex
	addresses []string      // IP:port; empty before the first lookup
	until     time.Time     // when the next lookup is due
	renewing  chan struct{} // closed when the running lookup ends; nil if there is none
}

// DialContext connects to hostPort. It is either the same host:port in every call, or an IP:port, which needs
// no lookup: pgx cancels a query at the IP address of its connection. Errors are *net.OpError, as those of
// net.Dialer.
func (d *Dialer) DialContext(ctx context.Context, network, hostPort string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(hostPort); err == nil {
		return d.Dialer.DialContext(ctx, network, hostPort)
	}
	addresses, err := d.resolve(ctx, hostPort)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	var failures []error
	for i, address := range addresses {
		conn, err := d.dial(ctx, network, address, len(addresses)-i)
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = time.Time{} // the Service may have been recreated
	if len(failures) == 1 {
		return nil, failures[0]
	}
	return nil, &net.OpError{Op: "dial", Net: network, Err: errors.Join(failures...)}
}

// dial connects to an address within its share of the remaining time.
func (d *Dialer) dial(ctx context.Context, network, address string, left int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok && left > 1 {
		limited, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
		ctx = limited
	}
	return d.Dialer.DialContext(ctx, network, address)
}

func (d *Dialer) resolve(ctx context.Context, hostPort string) ([]string, error) {
	d.mu.Lock()
	if d.addresses == nil {
		d.mu.Unlock()
		return d.lookup(ctx, hostPort)
	}
	if d.renewing == nil && time.Now().After(d.until) {
		d.renewing = make(chan struct{})
		go d.renew(hostPort, d.renewing)
		ended := d.renewing
		d.mu.Unlock()
		select { // only one connection per lookupTimeout waits
		case <-ended:
		case <-time.After(patience):
		case <-ctx.Done():
		}
		d.mu.Lock()
	}
	defer d.mu.Unlock()
	return d.addresses, nil
}

func (d *Dialer) renew(hostPort string, ended chan struct{}) {
	defer close(ended)
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	_, err := d.lookup(ctx, hostPort)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.renewing = nil
	if err != nil {
		d.until = time.Now().Add(retryAfter)
	}
}

func (d *Dialer) lookup(ctx context.Context, hostPort string) ([]string, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	found, err := cmp.Or(d.Resolver, net.DefaultResolver).LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	addresses := make([]string, len(found))
	for i, ip := range found {
		addresses[i] = net.JoinHostPort(ip, port)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addresses, d.until = addresses, time.Now().Add(resolvedFor)
	return addresses, nil
}

// Idle is the socket of an unused connection. Read reports whether the other side has closed the connection. It reads
// nothing, because it never calls its argument.
//
// Only one goroutine uses a connection at a time, and checks it before it sends. The fields are reused so that a check
// allocates nothing.
type Idle struct {
	syscall.RawConn
	poll func(fd uintptr)
	fds  [1]unix.PollFd
	err  error
}

// NewIdle returns the socket of a connection.
func NewIdle(connection net.Conn) (*Idle, error) {
	socket, err := connection.(syscall.Conn).SyscallConn()
	i := &Idle{RawConn: socket}
	i.poll = func(fd uintptr) {
		i.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP}
		for {
			if _, i.err = unix.Poll(i.fds[:], 0); !errors.Is(i.err, unix.EINTR) {
				return
			}
		}
	}
	return i, err
}

// Read returns io.EOF if the other side has closed the connection.
func (i *Idle) Read(func(fd uintptr) bool) error {
	if err := i.Control(i.poll); err != nil {
		return err
	}
	if i.err != nil {
		return i.err
	}
	if i.fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0 {
		return io.EOF
	}
	return nil
}
