package upstream

import (
	"net"
	"testing"
	"time"

	"platform.example/apps/internal/client"
)

// While the routing of a Service changes, it refuses connections for a moment.
func TestRefusedConnectionIsRetried(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	if _, err := dialFunc()(address); !client.NotConnected(err) {
		t.Errorf("without a listener the error is %v", err)
	}

	opened := make(chan net.Listener, 1)
	go func() {
		time.Sleep(5 * retryPause)
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
		}
		opened <- listener
	}()
	c, err := dialFunc()(address)
	if listener := <-opened; listener != nil {
		t.Cleanup(func() { _ = listener.Close() })
	}
	if err != nil {
		t.Fatalf("it isn't tried again: %v", err)
	}
	_ = c.Close()
}
