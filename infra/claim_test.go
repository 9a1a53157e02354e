package main

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/namespace"
	"platform.example/infra/stack"
)

func TestFirstUpdateRefusesNamesOfOtherOwners(t *testing.T) {
	api := clustertest.New(t, "this")
	theirs := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
	for _, path := range []string{
		"/api/v1/namespaces/monitoring", "/apis/scheduling.k8s.io/v1/priorityclasses/platform-data",
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/platform-prometheus", "/api/v1/namespaces/monitoring/services/prometheus",
	} {
		api.Answer(path, theirs)
	}
	engine := &engine{last: resource.PropertyMap{}}
	err := up(t, stack.Local, on(t, api), engine)
	for _, want := range []string{
		"Namespace monitoring exists, and stack local didn't create it: set platform:namespacePrefix", "PriorityClass platform-data exists",
		"ClusterRole platform-prometheus exists", "Service monitoring/prometheus exists",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	for _, created := range engine.registered {
		if created.TypeToken != "pulumi:pulumi:StackReference" {
			t.Errorf("it creates %s %s", created.TypeToken, created.Name)
		}
	}
}

func TestNamespacePrefixIsImmutable(t *testing.T) {
	for recorded, want := range map[string]string{"": "the stack runs in namespace apps", "apps": "the stack runs in namespace apps", "shop-apps": ""} {
		p := platform{}
		p.config.NamespacePrefix = "shop-"
		p.last.cluster = "this"
		if recorded != "" {
			p.last.namespaces = map[namespace.Name]string{"apps": recorded}
		}
		err := p.unclaimed(nil, nil)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("recorded as %q: %v, want %q", recorded, err, want)
		}
	}
}
