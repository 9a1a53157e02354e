// Package clientaddr tells from which address a request really comes, and how.
package clientaddr

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Networks is a list of networks.
type Networks []netip.Prefix

// Proxies are the networks of the proxies in front, whose word is taken.
type Proxies struct {
	Edge    Networks // the proxy that connects to the gateway: it says who connects to it
	Trusted Networks // the proxies that the edge trusts: they say for whom they ask
}

// ParseNetworks reads networks in CIDR form, separated by commas.
func ParseNetworks(raw string) (Networks, error) {
	var networks Networks
	for part := range strings.SplitSeq(raw, ",") {
		network, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("holds %q: must be networks such as 10.0.0.0/8, separated by commas", part)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

func (n Networks) contain(address netip.Addr) bool {
	return slices.ContainsFunc(n, func(network netip.Prefix) bool { return network.Contains(address) })
}

// believe reports whether the forwarded headers of a connection count.
func (p Proxies) believe(peer netip.Addr) bool {
	return p.Edge.contain(peer) || p.Trusted.contain(peer)
}

// Of returns the address of the client: that of the connection or, where the
// headers of the connection count, the right-most one in X-Forwarded-For that
// isn't a trusted proxy's. A client can write anything to the left of it. If all
// of them are trusted proxies', the left-most one is the client.
func (p Proxies) Of(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	client := peer.Addr().Unmap()
	if !p.believe(client) {
		return client.String()
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		text := strings.TrimSpace(hops[i])
		if text == "" {
			continue
		}
		hop, err := parseHop(text)
		if err != nil {
			break
		}
		client = hop
		if !p.Trusted.contain(client) {
			break
		}
	}
	return client.String()
}

// parseHop reads an address with or without a port: some load balancers write the port of the connection, too.
func parseHop(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(text)
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), err
}

// subnet is the part of an IPv6 address that one client has to itself: its
// provider gives it a whole network of 64 bits, and it takes any address in it.
const subnet = 64

// NetworkOf returns what a limit counts for the address of a client: the address,
// or the /64 network of an IPv6 address.
func NetworkOf(client string) string {
	address, err := netip.ParseAddr(client)
	if err != nil || address.Is4() {
		return client
	}
	return netip.PrefixFrom(address, subnet).Masked().String()
}

// Scheme returns what the client speaks, http or https: with whom it is
// connected, or what the nearest proxy says of its own connection.
func (p Proxies) Scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	said := r.Header["X-Forwarded-Proto"]
	if len(said) == 0 {
		return "http"
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !p.believe(peer.Addr().Unmap()) {
		return "http"
	}
	nearest := said[len(said)-1]
	if strings.EqualFold(strings.TrimSpace(nearest[strings.LastIndexByte(nearest, ',')+1:]), "https") {
		return "https"
	}
	return "http"
}
