// Package clientaddr tells from which address a request really comes, and how.
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
// it in that header anybody could have written. Where all of them are a proxy's,
// it is the farthest: a client may well have an address among the proxies'.
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

// Scheme returns what the client speaks, http or https: with whom it is
// connected, or what the nearest proxy says of its own connection.
func (p Proxies) Scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	said := r.Header["X-Forwarded-Proto"]
	if len(p) == 0 || len(said) == 0 {
		return "http"
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !p.contain(peer.Addr().Unmap()) {
		return "http"
	}
	nearest := said[len(said)-1]
	if strings.EqualFold(strings.TrimSpace(nearest[strings.LastIndexByte(nearest, ',')+1:]), "https") {
		return "https"
	}
	return "http"
}
