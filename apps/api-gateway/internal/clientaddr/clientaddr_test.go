package clientaddr

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// trusted returns Proxies with these networks in front of the edge.
func trusted(t testing.TB, raw string) Proxies {
	t.Helper()
	networks, err := ParseNetworks(raw)
	if err != nil {
		t.Fatal(err)
	}
	return Proxies{Trusted: networks}
}

func TestOf(t *testing.T) {
	proxies := trusted(t, "10.0.0.0/8, fd00::/8")
	for _, c := range []struct {
		name      string
		proxies   Proxies
		peer      string
		forwarded []string
		want      string
	}{
		{"a client", proxies, "192.0.2.1:1234", nil, "192.0.2.1"},
		{"a client that forges the header", proxies, "192.0.2.1:1234", []string{"198.51.100.7"}, "192.0.2.1"},
		{"no proxy is trusted", Proxies{}, "10.1.2.3:1234", []string{"198.51.100.7"}, "10.1.2.3"},
		{"through a proxy", proxies, "10.1.2.3:1234", []string{"198.51.100.7"}, "198.51.100.7"},
		{"through two", proxies, "10.1.2.3:1234", []string{"198.51.100.7, 10.9.9.9"}, "198.51.100.7"},
		{"in two headers", proxies, "10.1.2.3:1234", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7"},
		{"forged before the proxy", proxies, "10.1.2.3:1234", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"nonsense before the proxy", proxies, "10.1.2.3:1234", []string{"x, 198.51.100.7"}, "198.51.100.7"},
		{"a proxy without the header", proxies, "10.1.2.3:1234", nil, "10.1.2.3"},
		{"a proxy with an invalid header", proxies, "10.1.2.3:1234", []string{"unknown"}, "10.1.2.3"},
		{"IPv6", proxies, "[fd00::1]:1234", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv4 in IPv6", proxies, "[::ffff:10.1.2.3]:1234", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"with a port", proxies, "10.1.2.3:1234", []string{"203.0.113.9, 198.51.100.7:50312"}, "198.51.100.7"},
		{"a trusted proxy with a port", proxies, "10.1.2.3:1234", []string{"198.51.100.7:50312, 10.9.9.9:4711"}, "198.51.100.7"},
		{"IPv6 with a port", proxies, "10.1.2.3:1234", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"IPv6 in brackets", proxies, "10.1.2.3:1234", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with a zone", proxies, "10.1.2.3:1234", []string{"fe80::1%eth0"}, "fe80::1"},
		{"an empty element", proxies, "10.1.2.3:1234", []string{"198.51.100.7, , 10.9.9.9,"}, "198.51.100.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.forwarded}}
			if got := c.proxies.Of(r); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// The platform trusts every private network, because only its edge reaches the gateway. The address of a client in such
// a network still counts.
func TestClientWithinProxyNetworks(t *testing.T) {
	networks, err := ParseNetworks("10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7")
	if err != nil {
		t.Fatal(err)
	}
	proxies := Proxies{Edge: networks}
	const edge, edge6 = "10.42.0.7:40000", "[fd00::7]:40000"
	for _, client := range []string{
		"10.231.0.1", "10.231.0.2", "172.16.3.4", "192.168.1.10", "100.64.0.9", "fd12::1", "198.51.100.7", "2001:db8::1",
		"10.42.0.7", // the edge itself
	} {
		for _, peer := range []string{edge, edge6} {
			r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {client}}}
			if got := proxies.Of(r); got != client {
				t.Errorf("%s through %s is taken for %s", client, peer, got)
			}
		}
	}
}

// The gateway trusts the same part of the header as the edge.
func TestOfAgreesWithTheEdge(t *testing.T) {
	edge, err := ParseNetworks("10.0.0.0/8,192.168.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	cdn, err := ParseNetworks("203.0.113.0/24,2001:db8:c::/48")
	if err != nil {
		t.Fatal(err)
	}
	proxies := Proxies{Edge: edge, Trusted: cdn}
	for _, c := range []struct{ name, peer, forwarded, want string }{
		{"two clients behind one proxy, the first", "10.42.0.7:40000", "198.51.100.7, 203.0.113.5", "198.51.100.7"},
		{"two clients behind one proxy, the second", "10.42.0.7:40000", "198.51.100.8, 203.0.113.5", "198.51.100.8"},
		{"two proxies", "10.42.0.7:40000", "198.51.100.7, 203.0.113.5, 2001:db8:c::9", "198.51.100.7"},
		{"a client in a private network that the edge doesn't trust", "10.42.0.7:40000", "198.51.100.9, 10.0.0.7, 203.0.113.5", "10.0.0.7"},
		{"past the proxies, with a forged header", "10.42.0.7:40000", "198.51.100.9, 192.168.1.2", "192.168.1.2"},
		{"a proxy on its own behalf", "10.42.0.7:40000", "203.0.113.5", "203.0.113.5"},
		{"past the edge", "198.51.100.9:40000", "198.51.100.7, 203.0.113.5", "198.51.100.9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": {c.forwarded}}}
			if got := proxies.Of(r); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestNetworkOf(t *testing.T) {
	for client, want := range map[string]string{
		"198.51.100.7":         "198.51.100.7",
		"2001:db8:1:2::1":      "2001:db8:1:2::/64",
		"2001:db8:1:2:f::ffff": "2001:db8:1:2::/64",
		"2001:db8:1:3::1":      "2001:db8:1:3::/64",
		"no address":           "no address",
	} {
		if got := NetworkOf(client); got != want {
			t.Errorf("%s is limited as %s, want %s", client, got, want)
		}
	}
}

func TestScheme(t *testing.T) {
	proxies := trusted(t, "10.0.0.0/8, fd00::/8")
	const proxy, client = "10.1.2.3:1234", "192.0.2.1:1234"
	for _, c := range []struct {
		name    string
		proxies Proxies
		peer    string
		tls     bool
		protos  []string
		want    string
	}{
		{"a client", proxies, client, false, nil, "http"},
		{"a client with TLS", proxies, client, true, nil, "https"},
		{"a client that forges the header", proxies, client, false, []string{"https"}, "http"},
		{"no proxy is trusted", Proxies{}, proxy, false, []string{"https"}, "http"},
		{"TLS up to the proxy", proxies, proxy, false, []string{"https"}, "https"},
		{"IPv6", proxies, "[fd00::1]:1234", false, []string{"HTTPS"}, "https"},
		{"IPv4 in IPv6", proxies, "[::ffff:10.1.2.3]:1234", false, []string{"https"}, "https"},
		{"no TLS up to the proxy", proxies, proxy, false, []string{"http"}, "http"},
		{"forged before the proxy", proxies, proxy, false, []string{"https, http"}, "http"},
		{"forged in a header of its own", proxies, proxy, false, []string{"https", "http"}, "http"},
		{"TLS up to the second proxy", proxies, proxy, false, []string{"http, https"}, "https"},
		{"a proxy without the header", proxies, proxy, false, nil, "http"},
		{"a proxy with an invalid header", proxies, proxy, false, []string{"wss"}, "http"},
		{"no address", proxies, "@", false, []string{"https"}, "http"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-Proto": c.protos}}
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if got := c.proxies.Scheme(r); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestParseNetworksRefuses(t *testing.T) {
	for _, raw := range []string{"", "10.0.0.1", "10.0.0.0/33", "10.0.0.0/8,", "x"} {
		if got, err := ParseNetworks(raw); err == nil || !strings.Contains(err.Error(), "such as 10.0.0.0/8") {
			t.Errorf("%q: %v, %v", raw, got, err)
		}
	}
}

// For any header, the address of a client that isn't a trusted proxy is that of its connection.
func FuzzOf(f *testing.F) {
	proxies := trusted(f, "10.0.0.0/8")
	f.Add("198.51.100.7, 10.9.9.9")
	f.Add("::ffff:10.0.0.1,,x")
	f.Fuzz(func(t *testing.T, forwarded string) {
		header := http.Header{"X-Forwarded-For": {forwarded}}
		if got := proxies.Of(&http.Request{RemoteAddr: "192.0.2.1:1", Header: header}); got != "192.0.2.1" {
			t.Errorf("%q makes 192.0.2.1 %s", forwarded, got)
		}
		got := proxies.Of(&http.Request{RemoteAddr: "10.1.1.1:1", Header: header})
		if _, err := netip.ParseAddr(got); err != nil {
			t.Errorf("%q makes %q, which is no address", forwarded, got)
		}
	})
}

// Parsed networks print and parse to the same networks.
func FuzzParseNetworks(f *testing.F) {
	for _, seed := range []string{"", "10.0.0.0/8", "10.0.0.0/8, fd00::/8", "10.0.0.1", "10.1.2.3/8", "::/0", "0.0.0.0/0", "10.0.0.0/33", "fe80::1%eth0/64", "::ffff:10.0.0.0/104", ","} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		networks, err := ParseNetworks(raw)
		if err != nil {
			return
		}
		for _, network := range networks {
			again, err := ParseNetworks(network.String())
			if err != nil || len(again) != 1 || again[0] != network || network != network.Masked() {
				t.Errorf("%q has the network %s, which is read as %v, %v", raw, network, again, err)
			}
		}
	})
}

// For any headers, the scheme of a client that isn't a trusted proxy is that of its connection, and each address has a network.
func FuzzScheme(f *testing.F) {
	proxies := trusted(f, "10.0.0.0/8")
	f.Add("https", "2001:db8::1")
	f.Add("http, https", "198.51.100.7")
	f.Add(",", "::ffff:10.0.0.1")
	f.Fuzz(func(t *testing.T, forwarded, client string) {
		header := http.Header{"X-Forwarded-Proto": {forwarded}}
		if got := proxies.Scheme(&http.Request{RemoteAddr: "192.0.2.1:1", Header: header}); got != "http" {
			t.Errorf("%q makes the connection %s", forwarded, got)
		}
		if got := proxies.Scheme(&http.Request{RemoteAddr: "10.1.1.1:1", Header: header}); got != "http" && got != "https" {
			t.Errorf("%q makes the scheme %q", forwarded, got)
		}
		if network := NetworkOf(client); network != client {
			if prefix, err := netip.ParsePrefix(network); err != nil || prefix.Bits() != subnet {
				t.Errorf("%q is in %q", client, network)
			}
		}
	})
}
