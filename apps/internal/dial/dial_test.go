package dial

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

func listen(t *testing.T) (listener net.Listener, at string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return listener, net.JoinHostPort("localhost", port)
}

func TestHostIsResolvedOnceAndAgainAfterFailure(t *testing.T) {
	listener, at := listen(t)
	var d Dialer
	for range 2 {
		conn, err := d.DialContext(t.Context(), "tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if d.addresses == nil || d.until.IsZero() {
		t.Error("the addresses aren't cached")
	}
	_ = listener.Close()
	if _, err := d.DialContext(t.Context(), "tcp4", at); err == nil || !d.until.IsZero() {
		t.Errorf("after a failure (%v) the host isn't resolved again", err)
	}
}

// DNS accepts queries and never responds, and a lookup is due.
func TestDNSOutageDelaysNoConnection(t *testing.T) {
	_, at := listen(t)
	var d Dialer
	if _, err := d.lookup(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	queries := make(chan struct{}, 100)
	d.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		queries <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	_, port, _ := net.SplitHostPort(at)
	hung := net.JoinHostPort("service.example", port)
	d.until = time.Time{}
	ctx, cancel := context.WithTimeout(t.Context(), lookupTimeout/2)
	defer cancel()
	for range 20 {
		conn, err := d.DialContext(ctx, "tcp4", hung)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	<-queries // of the background lookup
	if len(queries) > 3 {
		t.Errorf("%d lookups run at the same time", len(queries)+1)
	}
	var fresh Dialer
	fresh.Resolver = d.Resolver
	limited, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := fresh.DialContext(limited, "tcp4", hung); err == nil {
		t.Error("the hanging resolver responds: the test shows nothing")
	}
}

// pgx cancels a query at the address of its connection, through the same dialer.
func TestAddressIsDialledWithoutLookup(t *testing.T) {
	_, at := listen(t)
	_, port, _ := net.SplitHostPort(at)
	d := Dialer{addresses: []string{"127.0.0.2:1"}}
	conn, err := d.DialContext(t.Context(), "tcp4", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if d.addresses[0] != "127.0.0.2:1" || !d.until.IsZero() {
		t.Errorf("the address is taken for the host: %v", d.addresses)
	}
}

// The first address drops packets: the next one gets its share of the time.
func TestHangingAddressLeavesTimeForNext(t *testing.T) {
	_, at := listen(t)
	_, port, _ := net.SplitHostPort(at)
	d := Dialer{addresses: []string{"127.0.0.3:1", net.JoinHostPort("127.0.0.1", port)}, until: time.Now().Add(time.Hour)}
	d.ControlContext = func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		if address == net.JoinHostPort("127.0.0.1", port) {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestNextAddressIsTriedAfterFailure(t *testing.T) {
	_, at := listen(t)
	_, port, _ := net.SplitHostPort(at)
	d := Dialer{addresses: []string{net.JoinHostPort("127.0.0.2", port), net.JoinHostPort("127.0.0.1", port)}, until: time.Now().Add(time.Hour)}
	conn, err := d.DialContext(t.Context(), "tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestUnknownHostFailsLikeDial(t *testing.T) {
	var d Dialer
	_, err := d.DialContext(t.Context(), "tcp", "there-is-no-such-host.invalid:80")
	if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
		t.Errorf("the error is %v", err)
	}
}
