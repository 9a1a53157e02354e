package live

import (
	"context"
	"net"
	"sync"
	"time"
)

// resolvedFor is how long an address is good without a look: a Service keeps its
// own as long as it lives. To look it up for every question would cost the
// cluster's DNS more than all else that services ask it.
const resolvedFor = 30 * time.Second

// dialer opens connections to one host and remembers where it is.
type dialer struct {
	net.Dialer

	mu      sync.Mutex
	address string // empty: must be looked up
	until   time.Time
}

func (d *dialer) dial(ctx context.Context, network, hostPort string) (net.Conn, error) {
	address, err := d.resolve(ctx, hostPort)
	if err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.address = "" // it may have moved
	}
	return conn, err
}

func (d *dialer) resolve(ctx context.Context, hostPort string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.address != "" && time.Now().Before(d.until) {
		return d.address, nil
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", err
	}
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", err
	}
	d.address, d.until = net.JoinHostPort(found[0], port), time.Now().Add(resolvedFor)
	return d.address, nil
}
