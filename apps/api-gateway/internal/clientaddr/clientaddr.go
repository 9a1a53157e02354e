// Package clientaddr determines the address and the scheme of a request's client.
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

// Proxies are the networks of the proxies in front of the gateway, whose headers are trusted.
type Proxies struct {
	Edge    Networks // the proxies that connect to the gateway: their headers name their client
	Trusted Networks // the proxies in front of the edge: their headers name their client, too
}

// ParseNetworks parses networks in CIDR form, separated by commas.
func ParseNetworks(raw string) (Networks, error) {
	var networks Networks
	for part := range strings.SplitSeq(raw, ",") {
		network, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("contains %q: must be networks such as 10.0.0.0/8, separated by commas", part)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

func (n Networks) contain(address netip.Addr) bool {
	return slices.ContainsFunc(n, func(network netip.Prefix) bool { return network.Contains(address) })
}

// trusts reports whether the forwarded headers of a connection from peer count.
func (p Proxies) trusts(peer netip.Addr) bool {
	return p.Edge.contain(peer) || p.Trusted.contain(peer)
}

// Of returns the address of the client. Without trusted headers, it is the address of the connection. With
// them, it is the right-most address in X-Forwarded-For that isn't a trusted proxy's: a client can write
// anything to the left of it. If all addresses are trusted proxies', it is the left-most one.
func (p Proxies) Of(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	client := peer.Addr().Unmap()
	if !p.trusts(client) {
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

// parseHop parses an address with or without a port: some load balancers add the port of the connection.
func parseHop(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(text)
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), err
}

// subnet is the prefix length of one client in IPv6: its provider assigns it a network of 64 bits, in which
// it can use any address.
const subnet = 64

// NetworkOf returns what a limit counts for a client's address: the address, or the /64 network of an IPv6
// address.
func NetworkOf(client string) string {
	address, err := netip.ParseAddr(client)
	if err != nil || address.Is4() {
		return client
	}
	return netip.PrefixFrom(address, subnet).Masked().String()
}

// Scheme returns the scheme of the client's connection, http or https, according to the nearest proxy if its
// headers are trusted.
func (p Proxies) Scheme(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	protos := strings.Join(r.Header["X-Forwarded-Proto"], ",")
	nearest := strings.TrimSpace(protos[strings.LastIndexByte(protos, ',')+1:])
	if r.TLS != nil || err == nil && p.trusts(peer.Addr().Unmap()) && strings.EqualFold(nearest, "https") {
		return "https"
	}
	return "http"
}
