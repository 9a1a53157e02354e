// Package dial opens connections to a Service of the platform and remembers its
// addresses, so that an outage of the cluster's DNS fails no request.
package dial

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// KeepAlive is the interval of TCP probes on connections to a store, as pgx and go-redis have it.
const KeepAlive = 5 * time.Minute

const (
	// resolvedFor is how long addresses are used before they are looked up again:
	// a Service keeps its own as long as it lives, and a lookup for every
	// connection would be most of the load of the cluster's DNS.
	resolvedFor = 30 * time.Second
	// retryAfter is the time between lookups while DNS doesn't answer.
	retryAfter    = time.Second
	lookupTimeout = 10 * time.Second
	// patience is how long a connection waits for a lookup that is due, for a name
	// that may have moved, before it uses the known addresses.
	patience = 100 * time.Millisecond
)

// Dialer opens connections to one host. Known addresses are used for as long as
// a lookup doesn't answer.
type Dialer struct {
	net.Dialer // its Resolver, if it has one, resolves the host

	mu        sync.Mutex
	addresses []string      // host:port, of numbers; empty before the first lookup
	until     time.Time     // when they are due to be looked up again
	renewing  chan struct{} // closed when the lookup under way ends; nil without one
}

// DialContext connects to host:port, always the same, or to an address, which
// needs no lookup: pgx cancels a query at the address of its connection. It fails
// as net.Dialer does.
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

// dial connects to an address within its share of the time that is left.
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
		select { // only who finds it due waits: during an outage of DNS, one connection in lookupTimeout
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
