package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"platform.example/local/file"
)

// machine is the state of the machine before the node changed anything. `make stop` and `make down` restore it.
type machine struct {
	// Boot is the id of the boot in which the node changed it. It is empty in files of former versions.
	Boot string `json:"boot"`
	// Sysctls are the previous values, by file below /proc/sys.
	Sysctls map[string]string `json:"sysctls"`
	// Created are folders outside the node's own folder that didn't exist before.
	Created []string `json:"created"`
	// Controllers are those of the root cgroup that its children didn't have before.
	Controllers []string `json:"controllers"`
}

// sysctls returns the sysctls that routing between pods and to Services needs.
func (n *Node) sysctls() []string {
	names := []string{"net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"}
	if len(n.families()) > 1 {
		names = append(names, "net/ipv6/conf/all/forwarding", "net/bridge/bridge-nf-call-ip6tables")
	}
	return names
}

// routeLocalnet is set by kube-proxy for node ports on loopback; the node only restores it.
const routeLocalnet = "net/ipv4/conf/all/route_localnet"

// strayFolders are folders in which components create files regardless of their configuration.
var strayFolders = []string{"/var/lib/kubelet", "/var/log/containers", "/var/log/pods", "/var/lib/cni", "/run/containerd", "/opt/cni", "/etc/cni",
	"/usr/libexec/kubernetes", "/run/docker"}

func (n *Node) machineFile() string { return filepath.Join(n.layout.State, "machine.json") }

// bootID is the file in which the kernel names the boot.
const bootID = "kernel/random/boot_id"

// rememberMachine records the machine's state once, before the first change.
func (n *Node) rememberMachine() error {
	if _, err := os.Stat(n.machineFile()); err == nil {
		return nil
	}
	m := machine{Boot: readSysctl(bootID), Sysctls: map[string]string{}, Controllers: withheld(cgroupRoot)}
	for _, name := range n.sysctls() {
		m.Sysctls[name] = cmp.Or(readSysctl(name), "0") // without br_netfilter, no rule applies to bridges
	}
	m.Sysctls[routeLocalnet] = readSysctl(routeLocalnet)
	for _, folder := range strayFolders {
		if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
			m.Created = append(m.Created, folder)
		}
	}
	content, _ := json.MarshalIndent(m, "", "  ") // plain values always encode
	return file.Write(n.machineFile(), content, 0o600)
}

func readSysctl(name string) string {
	content, _ := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(content))
}

// connect creates the bridge and the iptables rules for it.
func (n *Node) connect(ctx context.Context) error {
	if readSysctl("net/bridge/bridge-nf-call-iptables") == "" {
		// Ignore the error: the kernel may have the feature built in under another name.
		_ = exec.CommandContext(ctx, "modprobe", "br_netfilter").Run()
	}
	for _, name := range n.sysctls() {
		if err := os.WriteFile("/proc/sys/"+name, []byte("1"), 0o644); err != nil {
			return fmt.Errorf("set sysctl %s to 1: %w; does this kernel have it?", name, err)
		}
	}
	if _, err := net.InterfaceByName(bridge); err != nil {
		if err := run(ctx, "ip", "link", "add", bridge, "type", "bridge"); err != nil {
			return err
		}
	}
	for _, f := range n.families() {
		// The control plane listens at once: nodad, because an IPv6 address is otherwise tentative for a second.
		if err := run(ctx, "ip", "address", "replace", fmt.Sprintf("%s/%d", f.bridge, f.length), "dev", bridge, "nodad"); err != nil {
			return err
		}
	}
	if err := run(ctx, "ip", "link", "set", bridge, "up"); err != nil {
		return err
	}
	for _, f := range n.families() {
		ofNode := filepath.Join(n.iptablesFolder(), f.iptables)
		if _, err := os.Stat(ofNode); err != nil {
			ofNode = f.iptables
		}
		rules := f.rules()
		if len(n.workers()) > 0 {
			rules = append(rules, rule{"nat", "POSTROUTING", []string{"-s", nodeNetwork, "!", "-d", f.pods, "-j", "MASQUERADE"}})
		}
		for _, rule := range rules {
			iptables := f.iptables
			if rule.table == "nat" {
				iptables = ofNode
			}
			if run(ctx, iptables, rule.command("-C")...) == nil {
				continue
			}
			if err := run(ctx, iptables, rule.command("-A")...); err != nil {
				return err
			}
		}
	}
	return nil
}

// iptablesFolder is the first folder on the PATH of the node's components.
func (n *Node) iptablesFolder() string { return filepath.Join(n.layout.Node(), "run", "iptables") }

// componentsPath is the PATH of the node's components.
func (n *Node) componentsPath() string {
	return n.iptablesFolder() + string(os.PathListSeparator) + os.Getenv("PATH")
}

// chooseIptables makes the components write their rules into the kernel's older tables (xtables), if they exist. Changes of Services
// take effect sooner then: on a busy machine, reading and changing rules took 20 ms instead of 60 ms. Rules of other programs on the
// machine stay in their tables.
func (n *Node) chooseIptables(ctx context.Context) error {
	legacy, err := exec.LookPath("xtables-legacy-multi") // a multi-call program: its name selects the command
	if err != nil || run(ctx, legacy, "iptables", "-t", "nat", "-S") != nil {
		return nil //nolint:nilerr // use the default iptables
	}
	if err := os.MkdirAll(n.iptablesFolder(), 0o700); err != nil {
		return fmt.Errorf("choose iptables: %w", err)
	}
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		if err := os.Symlink(legacy, filepath.Join(n.iptablesFolder(), name)); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("choose iptables: %w", err)
		}
	}
	return nil
}

// rule is an iptables rule.
type rule struct {
	table, chain string
	spec         []string
}

func (r rule) command(what string) []string {
	return append([]string{"-t", r.table, what, r.chain}, r.spec...)
}

func (f family) rules() []rule {
	// Port 1 (tcpmux) has no listener, so a connection to it is refused.
	refuse := []string{"-d", f.services, "-p", "tcp", "-j", "REDIRECT", "--to-ports", "1"}
	return []rule{
		// A Docker Engine on the machine sets the policy of this chain to drop, in the tables of the machine's iptables.
		{"filter", "FORWARD", []string{"-i", bridge, "-j", "ACCEPT"}},
		{"filter", "FORWARD", []string{"-o", bridge, "-j", "ACCEPT"}},
		// Traffic to a Service must not leave the machine. kube-proxy's earlier rules in the same table forward it to a
		// pod, or refuse it if the Service has none. But while a Service gets its first pod, neither rule exists for a
		// moment. Without this rule, the connection would use the default route, and a server out there could pose as the
		// service for as long as the connection is kept open.
		{"nat", "PREROUTING", refuse},
		{"nat", "OUTPUT", refuse},
	}
}

// disconnect removes the bridge and all iptables rules and IP sets of the node's components, and restores the sysctls.
func (n *Node) disconnect(ctx context.Context) error {
	var faults []error
	for _, tables := range []string{"iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy"} {
		faults = append(faults, cleanTables(ctx, tables))
	}
	if sets, err := exec.CommandContext(ctx, "ipset", "list", "-n").Output(); err == nil {
		for name := range strings.FieldsSeq(string(sets)) {
			if strings.HasPrefix(name, "KUBE-") || strings.HasPrefix(name, "inet6:KUBE-") {
				faults = append(faults, run(ctx, "ipset", "destroy", name))
			}
		}
	}
	if _, err := net.InterfaceByName(bridge); err != nil {
		return errors.Join(faults...)
	}
	// The kernel removes the pods' interfaces some time after their namespaces.
	pods, err := os.ReadDir(filepath.Join("/sys/class/net", bridge, "brif"))
	faults = append(faults, err)
	for _, pod := range pods {
		if err := run(ctx, "ip", "link", "delete", pod.Name()); err != nil {
			if _, gone := net.InterfaceByName(pod.Name()); gone == nil {
				faults = append(faults, err)
			}
		}
	}
	return errors.Join(append(faults, run(ctx, "ip", "link", "delete", bridge))...)
}

// cleanTables removes the node's rules from the tables of one address family.
func cleanTables(ctx context.Context, command string) error {
	saved, err := exec.CommandContext(ctx, command+"-save").Output()
	if errors.Is(err, exec.ErrNotFound) || len(saved) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s-save: %w", command, err)
	}
	cleaned := withoutOwnRules(string(saved))
	if cleaned == string(saved) {
		return nil
	}
	restore := exec.CommandContext(ctx, command+"-restore")
	restore.Stdin = strings.NewReader(cleaned)
	if output, err := restore.CombinedOutput(); err != nil {
		return fmt.Errorf("%s-restore: %w: %s", command, err, output)
	}
	return nil
}

// withoutOwnRules removes from the output of iptables-save the chains of Kubernetes' components and of the node's CNI network,
// the rules that jump to these chains, and the rules for the bridge and for Services. It keeps the chains of other programs.
func withoutOwnRules(saved string) string {
	lines := strings.Split(saved, "\n")
	// The chain names of a CNI network are hashes; the rules in these chains and the jumps to them contain the network's name. All
	// networks of the machine share the chains in which port mappings begin.
	network, shared := map[string]bool{}, false
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "-A" {
			continue
		}
		if !strings.Contains(line, `name: \"`+Name+`\"`) {
			shared = shared || fields[1] == "CNI-HOSTPORT-DNAT"
			continue
		}
		for _, field := range fields {
			if strings.HasPrefix(field, "CNI-") && !strings.HasPrefix(field, "CNI-HOSTPORT-") {
				network[field] = true
			}
		}
	}
	own := func(chain string) bool {
		return strings.HasPrefix(chain, "KUBE-") || network[chain] || !shared && strings.HasPrefix(chain, "CNI-HOSTPORT-")
	}
	kept := lines[:0:0]
	for _, line := range lines {
		fields := strings.Fields(line)
		drop := false
		switch {
		case strings.HasPrefix(line, ":"):
			drop = own(strings.TrimPrefix(fields[0], ":"))
		case strings.HasPrefix(line, "-A"):
			// kube-router accepts marked packets of its chains by rules in other chains.
			drop = own(fields[1]) || strings.Contains(line, `--comment "KUBE-ROUTER rule`)
			for i, field := range fields[1:] {
				switch before := fields[i]; before {
				case "-j", "-g":
					drop = drop || own(field)
				case "-i", "-o":
					drop = drop || field == bridge
				case "-s":
					drop = drop || field == nodeNetwork
				case "-d":
					drop = drop || field == ipv4.services || field == ipv6.services
				}
			}
		}
		if !drop {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// restoreMachine removes what the node made outside its folder, and restores what it changed. It does nothing if no run has changed the
// machine. After a restart of the machine, rules and sysctls of the node are gone, and the folders below /run are of other programs.
func (n *Node) restoreMachine(ctx context.Context) error {
	content, err := os.ReadFile(n.machineFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore the machine: %w", err)
	}
	var m machine
	if err := json.Unmarshal(content, &m); err != nil {
		return fmt.Errorf("restore the machine: %s: %w", n.machineFile(), err)
	}
	restarted := m.Boot != "" && m.Boot != readSysctl(bootID)
	var faults []error
	if !restarted {
		faults = append(faults, n.disconnect(ctx))
		for name, value := range m.Sysctls {
			if now := readSysctl(name); value != "" && now != "" && now != value {
				faults = append(faults, os.WriteFile("/proc/sys/"+name, []byte(value), 0o644))
			}
		}
		for _, controller := range m.Controllers {
			_ = writeExisting(filepath.Join(cgroupRoot, children), "-"+controller) // refused while a unit uses it
		}
		if leaf := filepath.Join(cgroupRoot, containerCgroup); len(m.Controllers) > 0 && moveProcesses(leaf, cgroupRoot) == nil {
			faults = append(faults, os.Remove(leaf))
		}
	}
	for _, folder := range m.Created {
		if slices.Contains(strayFolders, folder) && (!restarted || !strings.HasPrefix(folder, "/run/")) {
			faults = append(faults, os.RemoveAll(folder))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return os.Remove(n.machineFile())
}

// rulesTaken returns an error if another Kubernetes has iptables rules on the machine: both would change the same chains.
func rulesTaken(ctx context.Context) error {
	for _, command := range []string{"iptables", "iptables-legacy"} {
		saved, _ := exec.CommandContext(ctx, command+"-save").Output() // without iptables, there are no rules
		if strings.Contains(string(saved), "\n:KUBE-") {
			return fmt.Errorf("another Kubernetes, or a node whose folder was deleted, has rules on this machine (%s-save lists the chains KUBE-…): "+
				"deploy to its cluster with make up CONTEXT=<kube context>, or remove it and restart the machine", command)
		}
	}
	return nil
}

// addressTaken returns an error if an interface already has an address in one of the node's ranges.
func addressTaken() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list network interfaces: %w", err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if i.Name == bridge || err != nil {
			continue
		}
		for _, address := range addresses {
			prefix, err := netip.ParsePrefix(address.String())
			if err == nil && reserved(prefix.Addr().Unmap()) {
				return fmt.Errorf("interface %s has address %s, but the node needs %s and %s for pods and Services: take that interface down, or use a cluster elsewhere with make up CONTEXT=<kube context>",
					i.Name, prefix, ipv4.pods, ipv4.services)
			}
		}
	}
	return nil
}

// run runs a command; its error contains the command's output.
func run(ctx context.Context, name string, args ...string) error {
	output, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
