package smoke

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestNothingListensBeyondLoopbackAndTheBridge(t *testing.T) {
	listening, err := listeners()
	if err != nil {
		t.Fatal(err)
	}
	bridge := kit.NodeAddresses(t)
	seen := map[netip.AddrPort]bool{}
	for name, p := range kit.Supervised(t) {
		for _, address := range addressesOf(p, listening) {
			seen[address] = true
			if ip := address.Addr(); !ip.IsLoopback() && !slices.Contains(bridge, ip) {
				t.Errorf("%s listens on %s", name, address)
			}
		}
	}
	for _, known := range []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:5100"), netip.MustParseAddrPort("127.0.0.1:2379"), netip.AddrPortFrom(bridge[0], 6443),
	} {
		if !seen[known] {
			t.Errorf("found no listener on %s: the node is incomplete, or the test can't see listeners", known)
		}
	}
}

// The gateway's port is an iptables rule, not a socket.
func TestGatewayIsUnreachableFromOtherMachines(t *testing.T) {
	base, err := url.Parse(kit.Gateway().Base)
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	bridge := kit.NodeAddresses(t)
	for _, address := range addresses {
		prefix, err := netip.ParsePrefix(address.String())
		if err != nil {
			t.Fatal(err)
		}
		ip := prefix.Addr()
		if ip.IsLoopback() || ip.IsLinkLocalUnicast() || slices.Contains(bridge, ip) {
			continue
		}
		target := net.JoinHostPort(ip.String(), base.Port())
		if conn, err := net.DialTimeout("tcp", target, 2*time.Second); err == nil {
			_ = conn.Close()
			t.Errorf("the gateway responds on %s", target)
		}
	}
}

// listeners returns the listening sockets of this machine by inode.
func listeners() (map[string]netip.AddrPort, error) {
	found := map[string]netip.AddrPort{}
	for table, state := range map[string]string{
		"tcp": "0A", "tcp6": "0A", // TCP_LISTEN
		"udp": "07", "udp6": "07", // not connected: accepts packets from any address
	} {
		content, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
			fields := strings.Fields(line)
			if i == 0 || len(fields) < 10 || fields[3] != state {
				continue
			}
			address, err := socketAddress(fields[1])
			if err != nil {
				return nil, fmt.Errorf("/proc/net/%s: %w", table, err)
			}
			found[fields[9]] = address
		}
	}
	return found, nil
}

// socketAddress parses an address such as 0100007F:13EC: 32-bit words in the machine's byte order, and a port in network byte order.
func socketAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", text, err)
	}
	for i := 0; i+4 <= len(words); i += 4 {
		binary.BigEndian.PutUint32(words[i:], binary.NativeEndian.Uint32(words[i:]))
	}
	ip, ok := netip.AddrFromSlice(words)
	number, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q is invalid", text)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), nil
}

// addressesOf returns the addresses on which the process listens.
func addressesOf(p kit.Process, listening map[string]netip.AddrPort) []netip.AddrPort {
	files, _ := filepath.Glob(p.Path("fd/*"))
	var addresses []netip.AddrPort
	for _, file := range files {
		target, _ := os.Readlink(file)
		inode := strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")
		if address, ok := listening[inode]; ok {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// A connection to a Service without pods must be refused on this machine, because otherwise another machine could respond
// in its place.
func TestTrafficToAServiceStaysOnTheMachine(t *testing.T) {
	services := strings.Fields(kit.Output(t, "kubectl", "get", "services", "--all-namespaces", "--output=jsonpath={.items[*].spec.clusterIP}"))
	withoutPods := netip.MustParseAddr("10.232.0.250")
	if strings.Contains(services[0], ":") {
		withoutPods = netip.MustParseAddr("fd10:232::fffa")
	}
	for slices.Contains(services, withoutPods.String()) {
		withoutPods = withoutPods.Prev()
	}
	printed, err := kit.Run("kubectl", "exec", "--namespace=data", "service/postgres", "--container=postgres", "--", "bash", "-c", "exec 2>&1; echo > /dev/tcp/"+withoutPods.String()+"/8080 || echo failed")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(printed, "Connection refused") {
		t.Errorf("a pod's connection: %s, want it refused", printed)
	}
}
