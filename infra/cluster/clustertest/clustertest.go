// Package clustertest is an API server for tests with configured responses.
package clustertest

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"platform.example/infra/namespace"
)

// API is an API server.
type API struct {
	URL string

	mutex   sync.Mutex
	answers map[string]any
	asked   []string
}

// New starts the API server of a cluster with that ID.
func New(t *testing.T, id string) *API {
	t.Helper()
	api := &API{answers: map[string]any{}}
	server := httptest.NewServer(http.HandlerFunc(api.serve))
	t.Cleanup(server.Close)
	api.URL = server.URL
	api.Answer("/api/v1/namespaces/kube-system", corev1.Namespace{ObjectMeta: metav1.ObjectMeta{UID: types.UID(id)}})
	return api
}

// Answer sets the response of a path: an int is a status, a string is the body, anything else is encoded as JSON.
func (a *API) Answer(path string, answer any) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.answers[path] = answer
}

// Settle adds a stack's namespace apps to the cluster.
func (a *API) Settle(stack string) {
	a.Answer("/api/v1/namespaces/"+string(namespace.Apps), corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{UID: "apps", Annotations: map[string]string{namespace.StackAnnotation: stack}},
	})
}

// Asked returns the path and query of each request so far.
func (a *API) Asked() []string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return slices.Clone(a.asked)
}

// emptyLists are the lists of empty or missing namespaces.
var emptyLists = []string{
	"services", "deployments", "pods", "events", "statefulsets", "daemonsets", "horizontalpodautoscalers", "endpointslices", "persistentvolumeclaims",
}

func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.asked = append(a.asked, r.URL.RequestURI())
	w.Header().Set("Content-Type", "application/json")
	switch answer := a.answers[r.URL.Path].(type) {
	case nil:
		if slices.Contains(emptyLists, path.Base(r.URL.Path)) && r.Method == http.MethodGet {
			_, _ = w.Write([]byte(`{"items":[]}`))
			return
		}
		http.NotFound(w, r)
	case int:
		w.WriteHeader(answer)
	case string:
		_, _ = w.Write([]byte(answer))
	default:
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// Kubeconfig writes a kubeconfig whose current context "here" uses the API server.
func (a *API) Kubeconfig(t *testing.T) (path string) {
	t.Helper()
	return Write(t, Kubeconfig(a.URL))
}

//go:embed kubeconfig.yml
var kubeconfig string

// Kubeconfig is the content of a kubeconfig for a server.
func Kubeconfig(server string) string { return strings.ReplaceAll(kubeconfig, "<server>", server) }

// Write writes a kubeconfig file.
func Write(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
