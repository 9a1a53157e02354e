package dial

import (
	"errors"
	"net"
	"testing"
)

func TestAHostIsLookedUpOnceAndAgainAfterAFailure(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	var d Dialer
	at := net.JoinHostPort("localhost", port)
	for range 2 {
		conn, err := d.DialContext(t.Context(), "tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if d.address == "" || d.until.IsZero() {
		t.Error("it doesn't remember where the host is")
	}
	_ = listener.Close()
	if _, err := d.DialContext(t.Context(), "tcp4", at); err == nil || !d.until.IsZero() {
		t.Errorf("after a failure (%v) it doesn't look again", err)
	}
}

func TestAHostThatThereIsNotFailsAsADialDoes(t *testing.T) {
	var d Dialer
	_, err := d.DialContext(t.Context(), "tcp", "there-is-no-such-host.invalid:80")
	if dial, ok := errors.AsType[*net.OpError](err); !ok || dial.Op != "dial" {
		t.Errorf("it fails with %v", err)
	}
}
