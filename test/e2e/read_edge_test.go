package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// A client that sends its request slowly can hold a connection only for a limited time.
func TestSlowClientIsDisconnected(t *testing.T) {
	conn, err := tls.Dial("tcp", kit.EdgeAddress(), &tls.Config{RootCAs: kit.Authority()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "POST /api/auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	const patience = 90 * time.Second // longer than any timeout of the edge
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection is still open after %s: %v", patience, err)
	}
}
