package profile_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"platform.example/infra/catalog"
	"platform.example/infra/profile"
	"platform.example/infra/stack"
)

// config is a stack with these settings.
func config(t *testing.T, settings map[string]string) stack.Stack {
	t.Helper()
	var secrets []string
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		secrets = append(secrets, secret.Name)
	}
	plain := map[string]string{"registry": "localhost:5000"}
	for key, text := range settings {
		plain[key] = text
	}
	parsed, err := stack.Parse("local", catalog.Services(), plain, secrets)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func profiled(t *testing.T, settings map[string]string, facts profile.Facts) profile.Profile {
	t.Helper()
	p, err := profile.New(config(t, settings), facts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func line(t *testing.T, p profile.Profile, name string) profile.Line {
	t.Helper()
	at := slices.IndexFunc(p.Lines, func(line profile.Line) bool { return line.Name == name })
	if at < 0 {
		t.Fatalf("no line for %s", name)
	}
	return p.Lines[at]
}

func TestSettingsOverrideDiscovery(t *testing.T) {
	found := profile.Facts{
		Asked: true, Version: "v1.34.2", Families: []stack.Family{stack.IPv4}, Architectures: []string{"arm64"},
		DNS:            []stack.Peer{{Network: "192.0.2.1/32", Port: 53}},
		StorageClasses: []profile.StorageClass{{Name: "slow", Default: true}, {Name: "fast", Expands: true}},
		Groups:         []string{"security.openshift.io", "cilium.io"}, APIServerPorts: []int{16443},
	}
	for _, test := range []struct {
		name       string
		settings   map[string]string
		facts      profile.Facts
		line       string
		wantValue  string
		wantSource profile.Source
	}{
		{"no cluster", nil, profile.Facts{}, "cluster.dnsPeers", "kube-system/k8s-app=kube-dns", profile.Default},
		{"a DNS server is found", nil, found, "cluster.dnsPeers", "192.0.2.1/32", profile.Discovered},
		{"a DNS server is set", map[string]string{"cluster.dnsPeers": "dns/app=dns:5353"}, found, "cluster.dnsPeers", "dns/app=dns:5353", profile.Set},
		{"both families by default", nil, profile.Facts{}, "cluster.ipFamilies", "IPv4, IPv6", profile.Default},
		{"the family that is there", nil, found, "cluster.ipFamilies", "IPv4", profile.Discovered},
		{"the usual architecture", nil, profile.Facts{}, "cluster.architectures", "amd64", profile.Default},
		{"the nodes' architecture", nil, found, "cluster.architectures", "arm64", profile.Discovered},
		{"the architecture of the nodes that are selected", map[string]string{"cluster": `{"nodeSelector":{"kubernetes.io/arch":"amd64"}}`},
			found, "cluster.architectures", "amd64", profile.Set},
		{"user ids of our own", nil, profile.Facts{}, "cluster.userIds", "fixed", profile.Default},
		{"user ids that OpenShift assigns", nil, found, "cluster.userIds", "assigned", profile.Discovered},
		{"the default class", nil, found, "storageClass", "slow", profile.Discovered},
		{"a class by its name", map[string]string{"storageClass": "fast"}, found, "storageClass", "fast", profile.Set},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := line(t, profiled(t, test.settings, test.facts), test.line)
			if got.Value != test.wantValue || got.Source != test.wantSource {
				t.Errorf("got %+v, want %s, %s", got, test.wantValue, test.wantSource)
			}
		})
	}
}

func TestPodNetworks(t *testing.T) {
	usual := profiled(t, nil, profile.Facts{}).PodNetworks
	for _, test := range []struct {
		name  string
		found []string
		more  []string
	}{
		{"private ones change nothing", []string{"10.244.0.0/24", "10.244.7.0/24", "fd00:1::/64"}, nil},
		{"others are added, as wide as those of further nodes", []string{"203.0.113.0/26", "203.0.114.0/24", "2001:db8:1:2::/64"},
			[]string{"2001:db8:1::/48", "203.0.0.0/16"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := profiled(t, nil, profile.Facts{PodNetworks: test.found}).PodNetworks; !reflect.DeepEqual(got, append(slices.Clone(usual), test.more...)) {
				t.Errorf("got %v, want %v and %v", got, usual, test.more)
			}
		})
	}
	if got := profiled(t, map[string]string{"cluster.podNetworks": "192.0.2.0/24"}, profile.Facts{}).PodNetworks; !reflect.DeepEqual(got, []string{"192.0.2.0/24"}) {
		t.Errorf("set, they are %v", got)
	}
}

func TestMissing(t *testing.T) {
	all := profile.Facts{
		Asked: true, Balancer: true, Groups: []string{"metrics.k8s.io", "cert-manager.io"},
		StorageClasses: []profile.StorageClass{{Name: "standard", Default: true, Expands: true}},
	}
	with := func(change func(*profile.Facts)) profile.Facts {
		facts := all
		change(&facts)
		return facts
	}
	balanced := map[string]string{"edge.type": "LoadBalancer"}
	for _, test := range []struct {
		name     string
		settings map[string]string
		facts    profile.Facts
		want     string // in the only line; empty for nothing
	}{
		{"nothing", balanced, all, ""},
		{"no cluster", balanced, profile.Facts{}, ""},
		{"no default class", nil, with(func(f *profile.Facts) { f.StorageClasses = []profile.StorageClass{{Name: "other", Expands: true}} }), "no default StorageClass"},
		{"no such class", map[string]string{"storageClass": "fast"}, all, "StorageClass fast doesn't exist"},
		{"a class that can't expand", nil, with(func(f *profile.Facts) { f.StorageClasses = []profile.StorageClass{{Name: "local", Default: true}} }),
			"StorageClass local can't expand volumes"},
		{"no load balancer", balanced, with(func(f *profile.Facts) { f.Balancer = false }), "without one the edge gets no address"},
		{"no load balancer, and none wanted", nil, with(func(f *profile.Facts) { f.Balancer = false }), ""},
		{"no metrics", nil, with(func(f *profile.Facts) { f.Groups = []string{"apps"} }), "no metrics API"},
		{"a lookup that isn't allowed", nil, with(func(f *profile.Facts) { f.Unknown = []string{"nodes: forbidden"} }), "nodes: forbidden"},
		{"Cilium", nil, with(func(f *profile.Facts) { f.Groups = append(slices.Clone(f.Groups), "cilium.io") }), "policyCIDRMatchMode"},
	} {
		t.Run(test.name, func(t *testing.T) {
			missing := profiled(t, test.settings, test.facts).Missing
			if test.want == "" && len(missing) > 0 || test.want != "" && (len(missing) != 1 || !strings.Contains(missing[0], test.want)) {
				t.Errorf("missing: %q, want %q", missing, test.want)
			}
		})
	}
}

func TestOldClusterIsRefused(t *testing.T) {
	_, err := profile.New(config(t, nil), profile.Facts{Version: "v1.26.15-eks-1"})
	if want := "stack local: the cluster runs Kubernetes v1.26.15-eks-1: want 1.27 or later"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	profiled(t, nil, profile.Facts{Version: "v1.27.0+k3s1"})
}
