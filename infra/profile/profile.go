// Package profile is what differs between clusters, in one place. Each value is set by the stack, or else discovered by asking
// the cluster, or else a default that is safe on any.
package profile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"platform.example/infra/stack"
)

// Profile is the cluster as the components see it.
type Profile struct {
	DNS              []stack.Peer // the servers that pods ask for names
	APIServer        []string     // CIDRs; empty for any address
	APIServerPorts   []int
	PodNetworks      []string // CIDRs; where they aren't known, every network that isn't on the internet
	ServiceNetworks  []string // CIDRs; empty where they aren't known
	Families         []stack.Family
	StorageClass     StorageClass // the one that volumes get
	ImagePullSecrets []string
	RegistryMirror   string
	NodeSelector     map[string]string
	Tolerations      []string
	Architectures    []string // as GOARCH
	AssignedUserIDs  bool     // the cluster gives each namespace user ids, and refuses others

	Lines   []Line   // each value, for people
	Missing []string // what won't work, and what to do about it
}

// StorageClass is a kind of volume.
type StorageClass struct {
	Name    string
	Default bool
	Expands bool // volumes can grow in place
}

// Facts is what a cluster answered; what it didn't tell is empty.
type Facts struct {
	Asked                        bool // false where there is no cluster to ask
	Version                      string
	DNS                          []stack.Peer
	APIServerPorts               []int
	PodNetworks, ServiceNetworks []string
	Families                     []stack.Family
	Architectures                []string
	StorageClasses               []StorageClass
	Groups                       []string // of its API
	Balancer                     bool     // something gives addresses to Services of type LoadBalancer
	Unknown                      []string // what couldn't be asked for, and why
}

// Source is where a value comes from.
type Source string

// The sources.
const (
	Set        Source = "set"
	Discovered Source = "discovered"
	Default    Source = "default"
)

// Line is a value as people read it.
type Line struct {
	Name, Value string
	Source      Source
}

// Oldest is the first Kubernetes whose API has all that the platform uses: StatefulSets that keep their claims.
const Oldest = "1.27"

var (
	defaultDNS = []stack.Peer{{Namespace: "kube-system", Labels: map[string]string{"k8s-app": "kube-dns"}, Port: 53}}

	// apiServerPorts is those of the API server's Service, and of the API server itself on most clusters.
	apiServerPorts = []int{443, 6443}

	// private is where pods are on most clusters, and so whom the gateway believes: nobody but the edge reaches it.
	private = []string{"10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}
)

// New merges what the stack sets with what the cluster answered.
func New(config stack.Stack, facts Facts) (Profile, error) {
	var p Profile
	set := config.Cluster
	running, err := version.ParseGeneric(facts.Version)
	if err == nil && running.LessThan(version.MustParseGeneric(Oldest)) {
		return p, fmt.Errorf("stack %s: the cluster runs Kubernetes %s: want %s or later", config.Name, facts.Version, Oldest)
	}
	choose(&p, "version", nil, one(facts.Version), nil)
	p.DNS = choose(&p, "cluster.dnsPeers", set.DNSPeers, facts.DNS, defaultDNS)
	p.APIServer = choose(&p, "cluster.apiServerPeers", set.APIServerPeers, nil, nil)
	p.APIServerPorts = slices.Compact(slices.Sorted(slices.Values(slices.Concat(apiServerPorts, facts.APIServerPorts))))
	p.PodNetworks = choose(&p, "cluster.podNetworks", set.PodNetworks, facts.podNetworks(), private)
	p.ServiceNetworks = choose(&p, "cluster.serviceNetworks", set.ServiceNetworks, facts.ServiceNetworks, nil)
	p.Families = choose(&p, "cluster.ipFamilies", set.IPFamilies, facts.Families, []stack.Family{stack.IPv4, stack.IPv6})
	p.StorageClass = facts.class(config.StorageClass)
	choose(&p, "storageClass", one(config.StorageClass), one(p.StorageClass.Name), one("that of the cluster"))
	p.ImagePullSecrets = choose(&p, "cluster.imagePullSecrets", set.ImagePullSecrets, nil, nil)
	p.RegistryMirror = strings.Join(choose(&p, "cluster.registryMirror", one(set.RegistryMirror), nil, nil), "")
	p.NodeSelector = set.NodeSelector
	choose(&p, "cluster.nodeSelector", pairs(set.NodeSelector), nil, nil)
	p.Tolerations = choose(&p, "cluster.tolerations", set.Tolerations, nil, nil)
	architectures := set.Architectures
	if len(architectures) == 0 {
		architectures = one(set.NodeSelector["kubernetes.io/arch"])
	}
	p.Architectures = choose(&p, "cluster.architectures", architectures, facts.Architectures, one("amd64"))
	var openShift []string
	if slices.Contains(facts.Groups, "security.openshift.io") {
		openShift = one("assigned")
	}
	p.AssignedUserIDs = choose(&p, "cluster.userIds", one(set.UserIDs), openShift, one("fixed"))[0] == "assigned"
	p.Missing = p.missing(config, facts)
	return p, nil
}

// choose is the first of the values that is there.
func choose[T any](p *Profile, name string, set, discovered, fallback []T) []T {
	chosen, source := fallback, Default
	switch {
	case len(set) > 0:
		chosen, source = set, Set
	case len(discovered) > 0:
		chosen, source = discovered, Discovered
	}
	var texts []string
	for _, value := range chosen {
		texts = append(texts, fmt.Sprint(value))
	}
	p.Lines = append(p.Lines, Line{name, cmp.Or(strings.Join(texts, ", "), "none"), source})
	return chosen
}

func one(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

func pairs(labels map[string]string) []string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, key+"="+labels[key])
	}
	return pairs
}

// class is the StorageClass of that name, or else the cluster's default; without a name where there is none.
func (f Facts) class(name string) StorageClass {
	for _, class := range f.StorageClasses {
		if class.Name == name || name == "" && class.Default {
			return class
		}
	}
	return StorageClass{}
}

// podNetworks is the private networks, which stay so that those of further nodes change nothing, and what is outside of them.
func (f Facts) podNetworks() []string {
	if len(f.PodNetworks) == 0 {
		return nil
	}
	var beyond []string
	for _, network := range Outside(f.PodNetworks, private) {
		prefix := netip.MustParsePrefix(network)
		wide := map[bool]int{true: 16, false: 48}[prefix.Addr().Is4()] // where further nodes' are, too
		prefix, _ = prefix.Addr().Prefix(min(wide, prefix.Bits()))
		beyond = append(beyond, prefix.String())
	}
	slices.Sort(beyond)
	return slices.Concat(private, slices.Compact(beyond))
}

// Outside is the networks that none of the others holds.
func Outside(networks, others []string) []string {
	return slices.DeleteFunc(slices.Clone(networks), func(network string) bool {
		inner, err := netip.ParsePrefix(network)
		return err != nil || slices.ContainsFunc(others, func(other string) bool {
			outer, err := netip.ParsePrefix(other)
			return err == nil && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
		})
	})
}

func (p Profile) missing(config stack.Stack, facts Facts) []string {
	missing := slices.Clone(facts.Unknown)
	add := func(is bool, format string, values ...any) {
		if is && facts.Asked {
			missing = append(missing, fmt.Sprintf(format, values...))
		}
	}
	without := func(group string) bool { return len(facts.Groups) > 0 && !slices.Contains(facts.Groups, group) }
	class, named := p.StorageClass, config.StorageClass
	add(class.Name == "" && named == "", "no default StorageClass: volumes stay pending: set storageClass")
	add(class.Name == "" && named != "", "StorageClass %s doesn't exist: volumes stay pending", named)
	add(class.Name != "" && !class.Expands, "StorageClass %s can't expand volumes: choose their sizes for years", class.Name)
	add(config.Edge.Type == stack.LoadBalancer && !facts.Balancer,
		"nothing on the cluster was seen to give Services of type LoadBalancer an address: without it the edge is not reached")
	add(without("metrics.k8s.io"), "no metrics API (metrics-server): nothing is scaled automatically")
	add(config.Edge.Issuer != "" && without("cert-manager.io"), "no cert-manager: edge.issuer makes no certificate")
	add(slices.Contains(facts.Groups, "cilium.io"), "Cilium matches no node by its address unless its policyCIDRMatchMode is nodes, and no pod: "+
		"without that mode Prometheus reaches no kubelet; with it, no store or receiver of traces may be inside of the cluster")
	return missing
}
