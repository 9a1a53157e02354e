package cluster

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/release"
)

func TestChanges(t *testing.T) {
	at := func(second int) *metav1.Time { return &metav1.Time{Time: time.Unix(1_700_000_000+int64(second), 0)} }
	entry := func(manager, subresource string, second int, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, Time: at(second), FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	got := changes([]metav1.ManagedFieldsEntry{
		entry("kubectl", "scale", 3, `{"f:spec":{"f:replicas":{}}}`),
		entry("pulumi-kubernetes-1", "", 2, `{"f:metadata":{"f:annotations":{"f:platform.example/version":{}}},"f:spec":{"f:replicas":{},
			"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"shop\"}":{".":{},"f:name":{},"f:image":{}}}}}}}`),
		entry("kubectl-set", "", 4, `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"shop\"}":{"f:image":{}}}}}}}`),
		entry("kube-controller-manager", "status", 9, `{"f:spec":{"f:replicas":{}},"f:status":{"f:replicas":{}}}`),
	})
	want := release.Changes{
		"spec.replicas": {By: "kubectl scale", At: at(3).Time},
		"spec.template": {By: "kubectl-set", At: at(4).Time},
		"spec.template.spec.containers[shop].image":     {By: "kubectl-set", At: at(4).Time},
		"spec.template.spec.containers[shop].name":      {By: "pulumi-kubernetes-1", At: at(2).Time},
		"metadata.annotations.platform.example/version": {By: "pulumi-kubernetes-1", At: at(2).Time},
		"status.replicas": {},
	}
	for path, want := range want {
		if got[path] != want {
			t.Errorf("%s: %+v, want %+v", path, got[path], want)
		}
	}
}

func TestAutoscaler(t *testing.T) {
	least := int32(2)
	got := autoscaler(autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{release.ReplicasAnnotation: release.Bounds{Min: 3, Max: 4}.With("earlier")}},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Name: "shop-blue"}, MinReplicas: &least, MaxReplicas: 4,
		},
	})
	want := &release.Autoscaler{Target: "shop-blue", Bounds: release.Bounds{Min: 2, Max: 4}, Recorded: release.Bounds{Min: 3, Max: 4}, Changes: release.Changes{}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("it is %+v, want %+v", got, want)
	}
}

// The provider takes over the fields of a manager whose name starts with kubectl.
func TestRestartsGetAnotherManager(t *testing.T) {
	const restart = `{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/restartedAt":{}}}}}}`
	const paused = `{"f:spec":{"f:paused":{},"f:template":{"f:metadata":{"f:annotations":{"f:kubectl.kubernetes.io/restartedAt":{}}}}}}`
	object := func(name string, entries ...metav1.ManagedFieldsEntry) metav1.PartialObjectMetadata {
		return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, ManagedFields: entries}}
	}
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)}}
	}
	provider := entry("pulumi-kubernetes-1", `{"f:spec":{"f:template":{}}}`)
	lists := map[string]metav1.PartialObjectMetadataList{
		"/apis/apps/v1/namespaces/shop-apps/deployments": {Items: []metav1.PartialObjectMetadata{
			object("restarted", provider, entry("kubectl-rollout", restart)), object("kept", provider, entry("platform-restart", restart)),
			object("paused", entry("kubectl-rollout", paused)), object("scaled", entry("kubectl", `{"f:spec":{"f:replicas":{}}}`)), object("unmanaged"),
		}},
		"/apis/apps/v1/namespaces/shop-monitoring/statefulsets": {Items: []metav1.PartialObjectMetadata{object("alertmanager", entry("kubectl-rollout", restart))}},
		"/apis/apps/v1/namespaces/shop-monitoring/daemonsets":   {Items: []metav1.PartialObjectMetadata{object("node-exporter", entry("kubectl-rollout", restart))}},
	}
	patched := map[string]string{}
	refuse := false
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodPatch && refuse:
			w.WriteHeader(http.StatusConflict)
		case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/json-patch+json":
			body, _ := io.ReadAll(r.Body)
			patched[r.URL.Path] = string(body)
		case strings.HasSuffix(r.URL.Path, "/kube-system"):
			_ = json.NewEncoder(w).Encode(corev1.Namespace{ObjectMeta: metav1.ObjectMeta{UID: "one"}})
		default:
			_ = json.NewEncoder(w).Encode(lists[r.URL.Path])
		}
	}))
	defer api.Close()
	cluster, err := Target{Kubeconfig: clustertest.Write(t, clustertest.Kubeconfig(api.URL)), Namespaces: "shop-"}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	patch := func(index string) string {
		path := `"path":"/metadata/managedFields/` + index + `/manager","value":`
		return `[{"op":"test",` + path + `"kubectl-rollout"},{"op":"replace",` + path + `"platform-restart"}]`
	}
	want := map[string]string{
		"/apis/apps/v1/namespaces/shop-apps/deployments/restarted":           patch("1"),
		"/apis/apps/v1/namespaces/shop-monitoring/statefulsets/alertmanager": patch("0"),
		"/apis/apps/v1/namespaces/shop-monitoring/daemonsets/node-exporter":  patch("0"),
	}
	if err := cluster.KeepRestarts(t.Context()); err != nil || !reflect.DeepEqual(patched, want) {
		t.Errorf("it patches %v (%v), want %v", patched, err, want)
	}
	refuse = true
	if err := cluster.KeepRestarts(t.Context()); err == nil || !strings.Contains(err.Error(), "keep the restarts of deployments in namespace shop-apps: ") {
		t.Errorf("after a conflict: %v", err)
	}
}

func TestRestorePatchesEachObject(t *testing.T) {
	patched := map[string]string{}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodPatch {
			_ = json.NewEncoder(w).Encode(corev1.Namespace{ObjectMeta: metav1.ObjectMeta{UID: "one"}})
			return
		}
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Content-Type") != "application/strategic-merge-patch+json" || r.URL.Query().Get("fieldManager") != "platform-release" {
			t.Errorf("%s is patched as %s by %s", r.URL.Path, r.Header.Get("Content-Type"), r.URL.RawQuery)
		}
		if strings.HasSuffix(r.URL.Path, "/gone") {
			http.NotFound(w, r)
			return
		}
		patched[r.URL.Path] = string(body)
		_, _ = w.Write([]byte("{}"))
	}))
	defer api.Close()
	cluster, err := Target{Kubeconfig: clustertest.Write(t, clustertest.Kubeconfig(api.URL))}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	replicas := map[string]any{"spec": map[string]any{"replicas": 2}}
	err = cluster.Restore(t.Context(), []release.Difference{
		{Kind: "Service", Name: "shop", Patch: release.SelectorPatch("shop", release.Blue, map[string]string{"tier": "x"})},
		{Kind: "Deployment", Name: "shop-blue", Patch: replicas},
		{Kind: "HorizontalPodAutoscaler", Name: "shop-blue", Have: "missing"},
	})
	want := map[string]string{
		"/api/v1/namespaces/apps/services/shop":               `{"spec":{"selector":{"app.kubernetes.io/name":"shop","colour":"blue","tier":null}}}`,
		"/apis/apps/v1/namespaces/apps/deployments/shop-blue": `{"spec":{"replicas":2}}`,
	}
	if err != nil || !reflect.DeepEqual(patched, want) {
		t.Errorf("it patches %v (%v), want %v", patched, err, want)
	}
	err = cluster.Restore(t.Context(), []release.Difference{{Kind: "Deployment", Name: "gone", Field: "spec.paused", Have: "true", Want: "false", Patch: replicas}})
	if err == nil || !strings.Contains(err.Error(), "Deployment gone: spec.paused: true, want false: can't be restored") {
		t.Errorf("a deleted object: %v", err)
	}
}
