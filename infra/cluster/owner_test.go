package cluster

import (
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/namespace"
)

func TestFreeRefusesObjectsOfOtherOwners(t *testing.T) {
	api := clustertest.New(t, "one")
	owned := func(path, stack string) {
		object := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
		if stack != "" {
			object.Annotations = map[string]string{namespace.StackAnnotation: stack}
		}
		api.Answer(path, object)
	}
	owned("/api/v1/namespaces/apps", "local")
	owned("/api/v1/namespaces/monitoring", "")
	owned("/apis/scheduling.k8s.io/v1/priorityclasses/platform-data", "staging")
	owned("/apis/networking.k8s.io/v1/namespaces/edge/networkpolicies/edge", "")
	api.Answer("/apis/rbac.authorization.k8s.io/v1/clusterroles/platform-prometheus", http.StatusForbidden)
	err := connect(t, api).Free(t.Context(), "local", []Object{
		{"v1", "Namespace", "", "apps"},
		{"v1", "Namespace", "", "data"},
		{"v1", "Namespace", "", "monitoring"},
		{"scheduling.k8s.io/v1", "PriorityClass", "", "platform-data"},
		{"networking.k8s.io/v1", "NetworkPolicy", "edge", "edge"},
		{"rbac.authorization.k8s.io/v1", "ClusterRole", "", "platform-prometheus"},
	})
	if err == nil {
		t.Fatal("all are free")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		"Namespace monitoring exists, and stack local didn't create it: set platform:namespacePrefix",
		"PriorityClass platform-data belongs to stack staging",
		"`kubectl annotate --namespace edge networkpolicy edge platform.example/stack=local`",
		"find the owner of ClusterRole platform-prometheus: ",
	} {
		if len(lines) != 4 || !strings.Contains(lines[i], want) {
			t.Errorf("no %q in %q", want, lines)
		}
	}
}
