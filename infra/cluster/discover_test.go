package cluster

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/profile"
	"platform.example/infra/stack"
)

// dnsService is the cluster's DNS with endpoints at these addresses; pods or something else.
func dnsService(api *clustertest.API, namespace, name string, selector map[string]string, port int32, pods bool, addresses ...string) {
	api.Answer("/api/v1/namespaces/"+namespace+"/services/"+name, corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{Selector: selector, ClusterIPs: []string{"10.96.0.10"}, Ports: []corev1.ServicePort{
			{Name: "metrics", Port: 9153}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
		}},
	})
	dns, metrics, at := "dns", "metrics", int32(9153)
	slice := discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Name: &metrics, Port: &at}, {Name: &dns, Port: &port}}}
	for _, address := range addresses {
		endpoint := discoveryv1.Endpoint{Addresses: []string{address}}
		if pods {
			endpoint.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "dns"}
		}
		slice.Endpoints = append(slice.Endpoints, endpoint)
	}
	api.Answer("/apis/discovery.k8s.io/v1/namespaces/"+namespace+"/endpointslices", discoveryv1.EndpointSliceList{Items: []discoveryv1.EndpointSlice{slice}})
}

func node(address, architecture string, networks ...string) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"kubernetes.io/arch": architecture}},
		Spec:       corev1.NodeSpec{PodCIDRs: networks},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}, {Type: corev1.NodeHostName, Address: "one"}},
			NodeInfo:  corev1.NodeSystemInfo{Architecture: architecture},
		},
	}
}

func TestNameServers(t *testing.T) {
	byLabel := map[string]string{"k8s-app": "kube-dns"}
	for _, test := range []struct {
		name string
		api  func(*clustertest.API)
		want []stack.Peer
	}{
		{"nothing that is known", func(*clustertest.API) {}, nil},
		{"pods", func(api *clustertest.API) {
			dnsService(api, "kube-system", "kube-dns", byLabel, 53, true, "10.244.0.7")
		},
			[]stack.Peer{{Namespace: "kube-system", Labels: byLabel, Port: 53}}},
		{"pods that don't run just now", func(api *clustertest.API) { dnsService(api, "kube-system", "kube-dns", byLabel, 53, true) },
			[]stack.Peer{{Namespace: "kube-system", Labels: byLabel, Port: 53}}},
		{"pods of OpenShift, at another port", func(api *clustertest.API) {
			dnsService(api, "openshift-dns", "dns-default", map[string]string{"dns.operator.openshift.io/daemonset-dns": "default"}, 5353, true, "10.128.0.3")
		}, []stack.Peer{{Namespace: "openshift-dns", Labels: map[string]string{"dns.operator.openshift.io/daemonset-dns": "default"}, Port: 5353}}},
		{"pods with their node's address", func(api *clustertest.API) { dnsService(api, "kube-system", "kube-dns", byLabel, 53, true, "192.0.2.1") },
			[]stack.Peer{{Network: "192.0.2.1/32", Port: 53}, {Network: "10.96.0.10/32", Port: 53}}},
		{"a process of the node", func(api *clustertest.API) {
			dnsService(api, "kube-system", "kube-dns", nil, 5300, false, "192.0.2.1", "2001:db8::1")
		},
			[]stack.Peer{{Network: "192.0.2.1/32", Port: 5300}, {Network: "2001:db8::1/128", Port: 5300}, {Network: "10.96.0.10/32", Port: 53}}},
		{"a cache on each node", func(api *clustertest.API) {
			dnsService(api, "kube-system", "kube-dns", byLabel, 53, true, "10.244.0.7")
			api.Answer("/apis/apps/v1/namespaces/kube-system/daemonsets/node-local-dns", appsv1.DaemonSet{
				ObjectMeta: metav1.ObjectMeta{Name: "node-local-dns"},
				Spec: appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{
					{Args: []string{"-localip", "169.254.25.10,10.96.0.10", "-conf", "/etc/Corefile"}},
				}}}},
			})
		}, []stack.Peer{
			{Namespace: "kube-system", Labels: byLabel, Port: 53}, {Network: "169.254.25.10/32", Port: 53}, {Network: "10.96.0.10/32", Port: 53},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			api := clustertest.New(t, "one")
			api.Answer("/api/v1/nodes", corev1.NodeList{Items: []corev1.Node{node("192.0.2.1", "amd64", "10.244.0.0/24")}})
			test.api(api)
			if got := connect(t, api).Discover(t.Context(), nil).DNS; !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestDiscover(t *testing.T) {
	api := clustertest.New(t, "one")
	expands, port := true, int32(16443)
	api.Answer("/version", version.Info{GitVersion: "v1.34.2"})
	api.Answer("/apis", metav1.APIGroupList{Groups: []metav1.APIGroup{{Name: "apps"}, {Name: "cilium.io"}}})
	api.Answer("/api/v1/nodes", corev1.NodeList{Items: []corev1.Node{
		node("192.0.2.1", "arm64", "10.244.0.0/24"), node("192.0.2.2", "amd64", "10.244.1.0/24"),
	}})
	api.Answer("/apis/storage.k8s.io/v1/storageclasses", storagev1.StorageClassList{Items: []storagev1.StorageClass{
		{ObjectMeta: metav1.ObjectMeta{Name: "slow"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "fast", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}}, AllowVolumeExpansion: &expands},
	}})
	api.Answer("/apis/networking.k8s.io/v1/servicecidrs", networkingv1.ServiceCIDRList{Items: []networkingv1.ServiceCIDR{{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/12"}}}}})
	api.Answer("/api/v1/namespaces/default/services/kubernetes", corev1.Service{Spec: corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}}})
	api.Answer("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", discoveryv1.EndpointSliceList{Items: []discoveryv1.EndpointSlice{{Ports: []discoveryv1.EndpointPort{{Port: &port}}}}})
	api.Answer("/api/v1/services", corev1.ServiceList{Items: []corev1.Service{{Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.3"}}}}}}})
	want := profile.Facts{
		Asked: true, Version: "v1.34.2", Families: []stack.Family{stack.IPv4}, Architectures: []string{"amd64", "arm64"},
		APIServerPorts: []int{16443}, PodNetworks: []string{"10.244.0.0/24", "10.244.1.0/24"}, ServiceNetworks: []string{"10.96.0.0/12"},
		StorageClasses: []profile.StorageClass{{Name: "slow"}, {Name: "fast", Default: true, Expands: true}},
		Groups:         []string{"apps", "cilium.io"}, Balancer: true,
	}
	connected := connect(t, api)
	if got := connected.Discover(t.Context(), nil); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := connected.Discover(t.Context(), map[string]string{"kubernetes.io/arch": "arm64"}).Architectures; !reflect.DeepEqual(got, []string{"arm64"}) {
		t.Errorf("the selected nodes are %v", got)
	}
}

func TestDiscoverReportsFailedRequests(t *testing.T) {
	api := clustertest.New(t, "one")
	api.Answer("/api/v1/nodes", http.StatusForbidden)
	facts := connect(t, api).Discover(t.Context(), nil)
	if len(facts.Unknown) != 1 || !strings.Contains(facts.Unknown[0], "/api/v1/nodes?limit=250: ") {
		t.Errorf("unknown: %q", facts.Unknown)
	}
	if facts.Architectures != nil || facts.PodNetworks != nil {
		t.Errorf("facts: %+v", facts)
	}
}
