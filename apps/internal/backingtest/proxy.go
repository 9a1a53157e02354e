package backingtest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Proxy forwards connections between a service and a dependency, and can delay them.
type Proxy struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// StartProxy forwards connections to addr (host:port) until the test ends.
func StartProxy(t testing.TB, addr string) *Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := &Proxy{t: t, proxy: toxiproxy.NewProxy(server, "proxy", "127.0.0.1:0", addr)}
	if err := p.proxy.Start(); err != nil {
		t.Fatalf("starting a proxy to %s: %v", addr, err)
	}
	t.Cleanup(p.proxy.Stop)
	return p
}

// Addr returns the proxy's host:port.
func (p *Proxy) Addr() string { return p.proxy.Listen }

// Env returns env with the address of the proxy in its _ADDR, _HOST and _PORT variables.
func (p *Proxy) Env(env map[string]string) map[string]string {
	host, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		p.t.Fatal(err)
	}
	proxied := make(map[string]string, len(env))
	for name, value := range env {
		switch {
		case strings.HasSuffix(name, "_ADDR"):
			value = p.Addr()
		case strings.HasSuffix(name, "_HOST"):
			value = host
		case strings.HasSuffix(name, "_PORT"):
			value = port
		}
		proxied[name] = value
	}
	return proxied
}

// Delay delays every response by d from now on; 0 ends the delay.
func (p *Proxy) Delay(d time.Duration) {
	p.t.Helper()
	p.proxy.Toxics.ResetToxics(p.t.Context())
	if d == 0 {
		return
	}
	toxic := fmt.Sprintf(`{"name":"latency","type":"latency","stream":%q,"attributes":{"latency":%d}}`,
		stream.Downstream, d.Milliseconds())
	if _, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		p.t.Fatalf("slowing the proxy: %v", err)
	}
}
