// Package clientaddr tells from which address a request really comes.
package clientaddr

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the networks of the proxies in front, whose word is taken.
type Proxies []netip.Prefix

// ParseProxies reads networks in CIDR form, separated by commas.
func ParseProxies(raw string) (Proxies, error) {
	var proxies Proxies
	for part := range strings.SplitSeq(raw, ",") {
		network, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("holds %q: must be networks such as 10.0.0.0/8, separated by commas", part)
		}
		proxies = append(proxies, network.Masked())
	}
	return proxies, nil
}

func (p Proxies) contain(address netip.Addr) bool {
	for _, network := range p {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// Of returns the address of the client: that of the connection or, where it is
// a proxy's, the nearest one in X-Forwarded-For that isn't. What stands beyond
// it in that header anybody could have written.
func (p Proxies) Of(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	client := peer.Addr().Unmap()
	if len(p) == 0 || !p.contain(client) {
		return client.String()
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		client = hop.Unmap()
		if !p.contain(client) {
			break
		}
	}
	return client.String()
}
