package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/utils/ptr"

	"platform.example/infra/profile"
	"platform.example/infra/stack"
)

// answers are the API server's responses.
type answers struct {
	version   version.Info
	groups    metav1.APIGroupList
	nodes     corev1.NodeList
	classes   storagev1.StorageClassList
	cidrs     networkingv1.ServiceCIDRList
	balancers corev1.ServiceList
	api       service
	dns       []service // the first that exists is the cluster's
	nodeLocal appsv1.DaemonSet
}

// service is a Service with its endpoints.
type service struct {
	corev1.Service
	slices discoveryv1.EndpointSliceList
}

// nodesAsked is the maximum number of nodes to read, which are a few MB.
const nodesAsked = 250

// Discover reads the properties of the cluster with concurrent requests. Facts.Unknown lists failed requests, such as forbidden ones.
func (c *Cluster) Discover(ctx context.Context, nodes map[string]string) profile.Facts {
	found := answers{dns: make([]service, 2)}
	paths := map[string]any{
		"/version": &found.version,
		"/apis":    &found.groups,
		fmt.Sprintf("/api/v1/nodes?limit=%d", nodesAsked):                &found.nodes,
		"/apis/storage.k8s.io/v1/storageclasses":                         &found.classes,
		"/apis/networking.k8s.io/v1/servicecidrs":                        &found.cidrs,
		"/api/v1/services?fieldSelector=spec.type%3DLoadBalancer":        &found.balancers,
		"/apis/apps/v1/namespaces/kube-system/daemonsets/node-local-dns": &found.nodeLocal,
	}
	for name, into := range map[string]*service{
		"default/kubernetes": &found.api, "kube-system/kube-dns": &found.dns[0], "openshift-dns/dns-default": &found.dns[1],
	} {
		space, name, _ := strings.Cut(name, "/")
		paths["/api/v1/namespaces/"+space+"/services/"+name] = &into.Service
		paths["/apis/discovery.k8s.io/v1/namespaces/"+space+"/endpointslices?labelSelector="+discoveryv1.LabelServiceName+"%3D"+name] = &into.slices
	}
	var unknown []string
	var mutex sync.Mutex
	var group sync.WaitGroup
	for path, into := range paths {
		group.Go(func() {
			content, err := c.client.Discovery().RESTClient().Get().RequestURI(path).DoRaw(ctx)
			if err == nil {
				err = json.Unmarshal(content, into)
			}
			if err != nil && !apierrors.IsNotFound(err) {
				mutex.Lock()
				defer mutex.Unlock()
				unknown = append(unknown, fmt.Sprintf("not discovered: %s: %v", path, err))
			}
		})
	}
	group.Wait()
	facts := found.facts(nodes)
	slices.Sort(unknown)
	facts.Unknown = unknown
	return facts
}

func (a answers) facts(selector map[string]string) profile.Facts {
	facts := profile.Facts{Asked: true, Version: a.version.GitVersion}
	for _, group := range a.groups.Groups {
		facts.Groups = append(facts.Groups, group.Name)
	}
	for _, class := range a.classes.Items {
		facts.StorageClasses = append(facts.StorageClasses, profile.StorageClass{
			Name:    class.Name,
			Default: class.Annotations["storageclass.kubernetes.io/is-default-class"] == "true",
			Expands: ptr.Deref(class.AllowVolumeExpansion, false),
		})
	}
	facts.Balancer = slices.Contains(facts.Groups, "metallb.io") || slices.ContainsFunc(a.balancers.Items, func(s corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) > 0
	})
	nodeAddresses := map[string]bool{}
	var addresses []string // of nodes and pods
	for _, node := range a.nodes.Items {
		provider, _, _ := strings.Cut(node.Spec.ProviderID, ":")
		facts.Balancer = facts.Balancer || slices.Contains([]string{"aws", "azure", "digitalocean", "gce", "hcloud", "ibm", "openstack"}, provider)
		if architecture := node.Status.NodeInfo.Architecture; architecture != "" && labels.SelectorFromSet(selector).Matches(labels.Set(node.Labels)) {
			facts.Architectures = append(facts.Architectures, architecture)
		}
		facts.PodNetworks = append(facts.PodNetworks, node.Spec.PodCIDRs...)
		for _, address := range node.Status.Addresses {
			nodeAddresses[address.Address] = true
			if address.Type == corev1.NodeInternalIP {
				addresses = append(addresses, cidr(address.Address))
			}
		}
	}
	facts.Architectures = distinct(facts.Architectures)
	var pods []string
	facts.DNS, pods = a.nameServers(nodeAddresses)
	facts.PodNetworks = append(facts.PodNetworks, pods...) // on some clusters, the networks of the nodes don't include them
	for _, family := range a.api.Spec.IPFamilies {
		facts.Families = append(facts.Families, stack.Family(family))
	}
	for _, network := range append(addresses, facts.PodNetworks...) {
		family := stack.IPv4
		if strings.Contains(network, ":") {
			family = stack.IPv6
		}
		facts.Families = append(facts.Families, family)
	}
	facts.Families = distinct(facts.Families)
	for _, slice := range a.api.slices.Items {
		for _, port := range slice.Ports {
			if port.Port != nil {
				facts.APIServerPorts = append(facts.APIServerPorts, int(*port.Port))
			}
		}
	}
	for _, cidrs := range a.cidrs.Items {
		facts.ServiceNetworks = append(facts.ServiceNetworks, cidrs.Spec.CIDRs...)
	}
	return facts
}

// nameServers returns the peers of a NetworkPolicy for DNS, and the networks of DNS servers that are pods.
func (a answers) nameServers(nodes map[string]bool) (peers []stack.Peer, pods []string) {
	at := slices.IndexFunc(a.dns, func(dns service) bool { return dns.Name != "" })
	if at < 0 {
		return nil, nil
	}
	dns, port := a.dns[at], 53
	for _, slice := range dns.slices.Items {
		port = dns.target(slice)
		for _, endpoint := range slice.Endpoints {
			for _, address := range endpoint.Addresses {
				// Labels don't select a pod with its node's address.
				if endpoint.TargetRef != nil && endpoint.TargetRef.Kind == "Pod" && !nodes[address] {
					pods = append(pods, cidr(address))
				} else {
					peers = append(peers, stack.Peer{Network: cidr(address), Port: port})
				}
			}
		}
	}
	slices.SortFunc(peers, func(a, b stack.Peer) int { return strings.Compare(a.Network, b.Network) })
	networks := len(peers) > 0
	if !networks && len(dns.Spec.Selector) > 0 {
		peers = append(peers, stack.Peer{Namespace: dns.Namespace, Labels: dns.Spec.Selector, Port: port})
	}
	// NodeLocal DNSCache listens on each node, at a link-local address and at the Service's address.
	for _, container := range a.nodeLocal.Spec.Template.Spec.Containers {
		for text := range strings.SplitSeq(strings.Join(container.Args, ","), ",") {
			if address, err := netip.ParseAddr(text); err == nil && address.IsLinkLocalUnicast() {
				peers, networks = append(peers, stack.Peer{Network: cidr(text), Port: 53}), true
			}
		}
	}
	for _, address := range dns.Spec.ClusterIPs {
		if networks && address != corev1.ClusterIPNone { // some firewalls match the Service's address before its translation
			peers = append(peers, stack.Peer{Network: cidr(address), Port: 53})
		}
	}
	return peers, pods
}

// target is the target port of the Service's port 53.
func (s service) target(slice discoveryv1.EndpointSlice) int {
	for _, served := range s.Spec.Ports {
		for _, port := range slice.Ports {
			if served.Port == 53 && port.Port != nil && port.Name != nil && *port.Name == served.Name {
				return int(*port.Port)
			}
		}
	}
	return 53
}

func distinct[T ~string](values []T) []T { return slices.Compact(slices.Sorted(slices.Values(values))) }

// cidr turns an address into a network. It returns a network unchanged.
func cidr(address string) string {
	if parsed, err := netip.ParseAddr(address); err == nil {
		return netip.PrefixFrom(parsed, parsed.BitLen()).String()
	}
	return address
}
