// Package profile has the properties in which clusters differ. Each is set by the stack, discovered on the cluster, or a default that is
// safe on all clusters.
package profile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/version"

	"platform.example/infra/stack"
)

// Profile is the properties of a cluster.
type Profile struct {
	DNS              []stack.Peer // DNS servers of pods
	APIServer        []string     // CIDRs; empty for any address
	APIServerPorts   []int
	PodNetworks      []string // CIDRs; all private networks if unknown
	ServiceNetworks  []string // CIDRs; empty if unknown
	Families         []stack.Family
	StorageClass     StorageClass // of volumes
	ImagePullSecrets []string
	RegistryMirror   string
	NodeSelector     map[string]string
	Tolerations      []string
	Architectures    []string // as GOARCH
	Admission        bool     // the cluster has ValidatingAdmissionPolicies
	// Definitions and Operator report whether the stack creates the custom resource definitions of CloudNativePG, and an operator. It shares
	// the definitions of other stacks, and an operator that belongs to no stack.
	Definitions, Operator bool

	AssignedUserIDs bool // the cluster assigns user ids to each namespace and refuses others

	Lines   []Line   // all values, for people
	Missing []string // features that won't work, and how to fix them
}

// StorageClass is a StorageClass of the cluster.
type StorageClass struct {
	Name    string
	Default bool
	Expands bool // volumes can grow in place
}

// Facts are the discovered properties. Unknown ones are empty.
type Facts struct {
	Asked                        bool // false without a cluster
	Version                      string
	DNS                          []stack.Peer
	APIServerPorts               []int
	PodNetworks, ServiceNetworks []string
	Families                     []stack.Family
	Architectures                []string
	StorageClasses               []StorageClass
	Groups                       []string // API groups
	Balancer                     bool     // a controller assigns addresses to Services of type LoadBalancer
	Unknown                      []string // failed requests with their errors
}

// Source is the origin of a value.
type Source string

// The sources.
const (
	Set        Source = "set"
	Discovered Source = "discovered"
	Default    Source = "default"
)

// Line is a value for people.
type Line struct {
	Name, Value string
	Source      Source
}

// Oldest is the oldest supported version of Kubernetes: the first with persistentVolumeClaimRetentionPolicy of StatefulSets.
const Oldest = "1.27"

var (
	defaultDNS = []stack.Peer{{Namespace: "kube-system", Labels: map[string]string{"k8s-app": "kube-dns"}, Port: 53}}

	// apiServerPorts are the ports of the API server's Service, and of the API server on most clusters.
	apiServerPorts = []int{443, 6443}

	// private are the pod networks of most clusters. The gateway trusts them, since only the edge reaches it.
	private = []string{"10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}
)

// New merges the stack's settings and the discovered properties.
func New(config stack.Stack, facts Facts) (Profile, error) {
	var p Profile
	set := config.Cluster
	running, err := version.ParseGeneric(facts.Version)
	if err == nil && running.LessThan(version.MustParseGeneric(Oldest)) {
		return p, fmt.Errorf("stack %s: the cluster runs Kubernetes %s: want %s or later", config.Name, facts.Version, Oldest)
	}
	choose(&p, "version", nil, one(facts.Version), nil)
	p.Admission = err != nil || running.AtLeast(version.MustParseGeneric("1.30"))
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
	choose(&p, "cluster.nodeSelector", one(labels.Set(set.NodeSelector).String()), nil, nil)
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
	p.Definitions, p.Operator = true, true
	p.Missing = p.missing(config, facts)
	return p, nil
}

// choose returns the first non-empty value and adds a line for it.
func choose[T any](p *Profile, name string, set, discovered, fallback []T) []T {
	chosen, source := fallback, Default
	switch {
	case len(set) > 0:
		chosen, source = set, Set
	case len(discovered) > 0:
		chosen, source = discovered, Discovered
	}
	texts := slice.Map(chosen, func(value T) string { return fmt.Sprint(value) })
	p.Lines = append(p.Lines, Line{name, cmp.Or(strings.Join(texts, ", "), "none"), source})
	return chosen
}

func one(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

// class is the StorageClass of that name, or the cluster's default for an empty name. It is zero if there is none.
func (f Facts) class(name string) StorageClass {
	for _, class := range f.StorageClasses {
		if class.Name == name || name == "" && class.Default {
			return class
		}
	}
	return StorageClass{}
}

// podNetworks returns the private networks, so that new nodes change nothing, and the discovered networks outside of them.
func (f Facts) podNetworks() []string {
	if len(f.PodNetworks) == 0 {
		return nil
	}
	var others []string
	for _, network := range Outside(f.PodNetworks, private) {
		prefix := netip.MustParsePrefix(network)
		wide := map[bool]int{true: 16, false: 48}[prefix.Addr().Is4()] // includes the networks of new nodes
		prefix, _ = prefix.Addr().Prefix(min(wide, prefix.Bits()))
		others = append(others, prefix.String())
	}
	slices.Sort(others)
	return slices.Concat(private, slices.Compact(others))
}

// Outside returns the networks that aren't within any of the others.
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
	add := func(condition bool, format string, values ...any) {
		if condition && facts.Asked {
			missing = append(missing, fmt.Sprintf(format, values...))
		}
	}
	without := func(group string) bool { return len(facts.Groups) > 0 && !slices.Contains(facts.Groups, group) }
	class, named := p.StorageClass, config.StorageClass
	add(class.Name == "" && named == "", "no default StorageClass: volumes stay pending: set storageClass")
	add(class.Name == "" && named != "", "StorageClass %s doesn't exist: volumes stay pending", named)
	add(class.Name != "" && !class.Expands, "StorageClass %s can't expand volumes: choose large enough sizes", class.Name)
	add(config.Edge.Type == stack.LoadBalancer && !facts.Balancer,
		"no controller for Services of type LoadBalancer was found: without one the edge gets no address")
	add(!p.Admission, "Kubernetes 1.30 or later admits only images of the stack's registry to the namespace of the services; this cluster admits all")
	add(without("metrics.k8s.io"), "no metrics API (metrics-server): autoscaling doesn't work")
	add(config.Edge.Issuer != "" && without("cert-manager.io"), "no cert-manager: edge.issuer issues no certificate")
	add(slices.Contains(facts.Groups, "cilium.io"), "Cilium matches nodes by address only if its policyCIDRMatchMode is nodes, and never pods: "+
		"without that mode Prometheus can't reach kubelets; external stores and receivers of traces must be outside of the cluster")
	return missing
}
