// Package dial opens connections to a Service of the platform and remembers
// where it is.
package dial

import (
	"context"
	"net"
	"sync"
	"time"
)

// resolvedFor is how long an address is good without a look: a Service keeps its
// own as long as it lives. To look it up for every connection costs the
// cluster's DNS more than all else that services ask it, and makes every one of
// them wait while that is busy.
const resolvedFor = 30 * time.Second

// Dialer opens connections to one host.
type Dialer struct {
	net.Dialer

	mu      sync.Mutex
	address string // host:port, of numbers; empty: must be looked up
	until   time.Time
}

// DialContext connects to host:port, always the same. It fails as net.Dialer does.
func (d *Dialer) DialContext(ctx context.Context, network, hostPort string) (net.Conn, error) {
	address, err := d.resolve(ctx, hostPort)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	conn, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.until = time.Time{} // it may have moved
	}
	return conn, err
}

// resolve looks the host up where that is due. An address that was good before
// is better than none while DNS doesn't answer.
func (d *Dialer) resolve(ctx context.Context, hostPort string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.until) {
		return d.address, nil
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", err
	}
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil && d.address == "" {
		return "", err
	}
	if err == nil {
		d.address = net.JoinHostPort(found[0], port)
	}
	d.until = time.Now().Add(resolvedFor)
	return d.address, nil
}
