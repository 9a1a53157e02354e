package cluster

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/namespace"
	"platform.example/infra/objectref"
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
	err := connect(t, api).Free(t.Context(), "local", []objectref.Ref{
		{APIVersion: "v1", Kind: "Namespace", Name: "apps"},
		{APIVersion: "v1", Kind: "Namespace", Name: "data"},
		{APIVersion: "v1", Kind: "Namespace", Name: "monitoring"},
		{APIVersion: "scheduling.k8s.io/v1", Kind: "PriorityClass", Name: "platform-data"},
		{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "edge", Name: "edge"},
		{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: "platform-prometheus"},
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

func TestOperatorOfAnotherOwner(t *testing.T) {
	const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusters.postgresql.cnpg.io"
	for _, test := range []struct {
		name, owner, fields   string // no owner and no fields: it doesn't exist
		definitions, operator bool
		fault                 string
	}{
		{name: "none", definitions: true, operator: true},
		{"of the stack, before its update", "local", `"instances"`, true, true, ""},
		{"of another stack", "staging", `"primaryLease"`, false, true, ""},
		{"of an older stack", "staging", `"instances"`, false, false, "has no field spec.primaryLease: update stack staging first"},
		{"of somebody else", "", `"primaryLease"`, false, false, ""},
		{"of somebody else's old operator", "", `"instances"`, false, false, "upgrade the operator to CloudNativePG 1.30 or later"},
	} {
		t.Run(test.name, func(t *testing.T) {
			api := clustertest.New(t, "one")
			if test.fields != "" {
				annotations := fmt.Sprintf(`{%q: %q}`, namespace.StackAnnotation, test.owner)
				if test.owner == "" {
					annotations = "{}"
				}
				api.Answer(path, fmt.Sprintf(`{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"annotations": %s}, "spec": {%s: {}}}`,
					annotations, test.fields))
			}
			definitions, operator, err := connect(t, api).Operator(t.Context(), "local")
			if definitions != test.definitions || operator != test.operator || !strings.Contains(fmt.Sprint(err), test.fault) || (err != nil) != (test.fault != "") {
				t.Errorf("definitions %v, operator %v, %v; want %v, %v, %q", definitions, operator, err, test.definitions, test.operator, test.fault)
			}
		})
	}
}
