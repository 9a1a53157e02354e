package main

import (
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/stack"
)

// everything is the objects of a stack with all settings, by "kind name".
func everything(t *testing.T) map[string]manifest {
	t.Helper()
	found := map[string]manifest{}
	for _, rendered := range rendered(t, "everything", filepath.Join("testdata", "Pulumi.everything.yaml")) {
		object := manifest(rendered)
		found[object.at("kind").(string)+" "+object.at("metadata", "name").(string)] = object
	}
	return found
}

func TestPodsFollowTheProfile(t *testing.T) {
	for name, object := range everything(t) {
		spec, ok := object.at("spec", "template", "spec").(map[string]any)
		if !ok {
			continue
		}
		pod := manifest(spec)
		if got := pod.at("nodeSelector"); !reflect.DeepEqual(got, map[string]any{"kubernetes.io/os": "linux", "node-role.example.com/platform": "true"}) {
			t.Errorf("%s selects the nodes %v", name, got)
		}
		if got := pod.at("tolerations", 0, "key"); got != "dedicated" && name != "DaemonSet node-exporter" {
			t.Errorf("%s tolerates %v", name, pod.at("tolerations"))
		}
		if pod.at("imagePullSecrets", 0, "name") != "registry" || pod.at("imagePullSecrets", 1, "name") != "mirror" {
			t.Errorf("%s pulls with %v", name, pod.at("imagePullSecrets"))
		}
		if security := pod.at("securityContext").(map[string]any); security["runAsUser"] != nil || security["fsGroup"] != nil || security["runAsNonRoot"] != true {
			t.Errorf("%s runs as %v, where the cluster assigns who", name, security)
		}
		image := pod.at("containers", 0, "image").(string)
		if !strings.HasPrefix(image, "mirror.example.com/hub/") && !strings.HasPrefix(image, "registry.invalid/") {
			t.Errorf("%s runs %s, not from the mirror", name, image)
		}
	}
}

func TestEdgeFollowsTheProfile(t *testing.T) {
	spec := everything(t)["Service edge"]
	for _, want := range []struct {
		path  []any
		value any
	}{
		{[]any{"metadata", "annotations", "service.beta.kubernetes.io/aws-load-balancer-scheme"}, "internet-facing"},
		{[]any{"spec", "loadBalancerClass"}, "service.k8s.aws/nlb"},
		{[]any{"spec", "loadBalancerSourceRanges"}, []any{"198.51.100.0/24", "2001:db8:1::/48"}},
		{[]any{"spec", "ipFamilyPolicy"}, "PreferDualStack"},
	} {
		if got := spec.at(want.path...); !reflect.DeepEqual(got, want.value) {
			t.Errorf("%v is %v, want %v", want.path, got, want.value)
		}
	}
}

func TestNetworkPoliciesFollowTheProfile(t *testing.T) {
	objects := everything(t)
	rules, _ := objects["NetworkPolicy user-service"].at("spec", "egress").([]any)
	var dns []string
	for _, rule := range rules[len(rules)-3:] {
		rule := manifest(rule.(map[string]any))
		at, _ := rule.at("to", 0, "ipBlock", "cidr").(string)
		if labels, ok := rule.at("to", 0, "podSelector", "matchLabels").(map[string]any); ok {
			at = labels["dns.operator.openshift.io/daemonset-dns"].(string)
		}
		dns = append(dns, at)
		if port := rule.at("ports", 0, "port"); (port == 5353) != (at == "default") && (port == float64(5353)) != (at == "default") {
			t.Errorf("%s is reached at port %v", at, port)
		}
	}
	if want := []string{"default", "169.254.20.10/32", "fd00::a/128"}; !slices.Equal(dns, want) {
		t.Errorf("the DNS servers are %v, want %v", dns, want)
	}
	if got := objects["ConfigMap api-gateway-blue-0000"].at("data", "EDGE_NETWORKS"); got != "10.128.0.0/14,fd01::/48" {
		t.Errorf("the edge is in %v", got)
	}
	if got := objects["ConfigMap user-service-blue-0000"].at("data", "REDIS_ADDR"); got != "[2001:db8::6]:6379" {
		t.Errorf("the cache is at %v", got)
	}
	if objects["NetworkPolicy acme-solver"] == nil {
		t.Error("no policy opens the solver of the issuer's challenges")
	}
}

func TestDiscoveryComesBeforeTheFirstResource(t *testing.T) {
	api := clustertest.New(t, "this")
	api.Answer("/version", version.Info{GitVersion: "v1.34.2"})
	api.Answer("/api/v1/nodes", corev1.NodeList{Items: []corev1.Node{{
		ObjectMeta: metav1.ObjectMeta{Name: "one"},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{Architecture: "arm64"}, Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}},
	}}})
	values := given(t)
	values["platform:kubeconfig"] = api.Kubeconfig(t)
	engine := &engine{organization: "acme"}
	if err := up(t, stack.Local, values, engine); err != nil {
		t.Fatal(err)
	}
	t.Run("images are for the nodes' architecture", func(t *testing.T) {
		for name, image := range engine.ofType("docker:index/image:Image") {
			if got := image.at("build", "platform"); got != "linux/arm64" {
				t.Errorf("%s is for %v", name, got)
			}
		}
	})
	t.Run("the edge admits only the cluster's IP families", func(t *testing.T) {
		rules := engine.ofType("NetworkPolicy")["edge"].at("spec", "ingress").([]any)
		for _, rule := range rules {
			if cidr := manifest(rule.(map[string]any)).at("from", 0, "ipBlock", "cidr"); cidr == "::/0" {
				t.Errorf("the edge is reached by IPv6: %v", rules)
			}
		}
	})
	t.Run("the stack reference has the stack's organization", func(t *testing.T) {
		for _, created := range engine.registered {
			if created.TypeToken == "pulumi:pulumi:StackReference" && created.Name != "acme/platform/local" {
				t.Errorf("reads %s", created.Name)
			}
		}
	})
	api.Answer("/version", version.Info{GitVersion: "v1.25.0"})
	if err := up(t, stack.Local, values, engine); err == nil || !strings.Contains(err.Error(), "the cluster runs Kubernetes v1.25.0: want 1.27 or later") {
		t.Errorf("an old cluster: %v", err)
	}
}

func TestShowProfile(t *testing.T) {
	api := clustertest.New(t, "this")
	api.Answer("/version", version.Info{GitVersion: "v1.34.2"})
	api.Answer("/apis/storage.k8s.io/v1/storageclasses", http.StatusForbidden)
	file := filepath.Join(t.TempDir(), "Pulumi.staging.yaml")
	writeFile(t, file, `config:
  platform:registry: registry.example.com/platform
  platform:edge: {host: staging.example.com, issuer: letsencrypt}
  platform:kubeconfig: `+api.Kubeconfig(t)+`
  platform:cluster: {dnsPeers: [dns/app=dns]}
`)
	var out strings.Builder
	if err := showProfile("..", "staging", file, &out); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"NAME VALUE SOURCE version v1.34.2 discovered cluster.dnsPeers dns/app=dns set", "cluster.architectures amd64 default",
		"What will be missing:", "not discovered: /apis/storage.k8s.io/v1/storageclasses: ", "no default StorageClass", "Services of type LoadBalancer",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, out.String())
		}
	}
}
