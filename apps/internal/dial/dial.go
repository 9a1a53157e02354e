// Package dial opens connections to a Service of the platform and remembers its
// addresses, so that an outage of the cluster's DNS fails no request.
package dial

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// resolvedFor is how long addresses are used before they are looked up again:
	// a Service keeps its own as long as it lives, and a lookup for every
	// connection would be most of the load of the cluster's DNS.
	resolvedFor = 30 * time.Second
	// retryAfter is the time between lookups while DNS doesn't answer.
	retryAfter    = time.Second
	lookupTimeout = 10 * time.Second
)

// Dialer opens connections to one host. Known addresses are used while they are
// looked up again in the background, and for as long as that fails.
type Dialer struct {
	net.Dialer // its Resolver, if it has one, resolves the host

	mu        sync.Mutex
	addresses []string  // host:port, of numbers; empty before the first lookup
	until     time.Time // when they are due to be looked up again
	renewing  bool
}

// DialContext connects to host:port, always the same. It fails as net.Dialer does.
func (d *Dialer) DialContext(ctx context.Context, network, hostPort string) (net.Conn, error) {
	addresses, err := d.resolve(ctx, hostPort)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	var failures []error
	for _, address := range addresses {
		conn, err := d.Dialer.DialContext(ctx, network, address)
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = time.Time{} // the Service may have been created anew
	if len(failures) == 1 {
		return nil, failures[0]
	}
	return nil, &net.OpError{Op: "dial", Net: network, Err: errors.Join(failures...)}
}

func (d *Dialer) resolve(ctx context.Context, hostPort string) ([]string, error) {
	d.mu.Lock()
	known := d.addresses
	if known != nil && !d.renewing && time.Now().After(d.until) {
		d.renewing = true
		go d.renew(hostPort)
	}
	d.mu.Unlock()
	if known != nil {
		return known, nil
	}
	return d.lookup(ctx, hostPort)
}

func (d *Dialer) renew(hostPort string) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	_, err := d.lookup(ctx, hostPort)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.renewing = false
	if err != nil {
		d.until = time.Now().Add(retryAfter)
	}
}

func (d *Dialer) lookup(ctx context.Context, hostPort string) ([]string, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	resolver := net.DefaultResolver
	if d.Resolver != nil {
		resolver = d.Resolver
	}
	found, err := resolver.LookupHost(ctx, host)
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
