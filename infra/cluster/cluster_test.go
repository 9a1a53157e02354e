package cluster

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeConfig(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func kubeconfigOf(server string) string {
	return `current-context: here
contexts:
- {name: here, context: {cluster: this, user: admin}}
- {name: dangling, context: {cluster: gone}}
clusters:
- {name: other, cluster: {server: "https://other.invalid"}}
- {name: this, cluster: {server: "` + server + `"}}
`
}

func TestAServerThatRefusesStrangersIsReachable(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	target := Target{Kubeconfig: writeConfig(t, kubeconfigOf(server.URL))}
	if err := target.reachable(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnreachable(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	path := writeConfig(t, kubeconfigOf(closed.URL))
	tests := []struct {
		name, path, context, want string
	}{
		{"nothing listens", path, "", "the cluster of context here can't be reached"},
		{"no such context", path, "elsewhere", `no context "elsewhere"`},
		{"a context without cluster", path, "dangling", `no context "dangling" with a cluster`},
		{"no file", path + "-absent", "", "no such file or directory: set platform:kubeconfig"},
		{"not YAML", writeConfig(t, "{"), "", "read the kubeconfig"},
		{"empty", writeConfig(t, ""), "", "no current context"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Target{Kubeconfig: test.path, Context: test.context}.reachable(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestSeveralFilesAreMerged(t *testing.T) {
	t.Setenv("KUBECONFIG", strings.Join([]string{
		"/absent", writeConfig(t, "current-context: dangling\n"), writeConfig(t, kubeconfigOf("https://this.invalid")),
	}, string(filepath.ListSeparator)))
	got, err := Target{Context: "here"}.server()
	if err != nil || got.URL != "https://this.invalid" {
		t.Errorf("got %+v, %v", got, err)
	}
}
