package preview

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"platform.example/infra/catalog"
	"platform.example/infra/release"
	"platform.example/infra/stack"
)

// output is shortened output of `pulumi preview --json`.
const output = `{"steps": [
	{"op": "same", "urn": "urn:pulumi:staging::platform::pulumi:pulumi:Stack::platform-staging", "oldState": {"type": "pulumi:pulumi:Stack"}},
	{"op": "update", "urn": "urn:pulumi:staging::platform::docker:index/image:Image::user-service",
		"oldState": {"type": "docker:index/image:Image", "inputs": {"imageName": "a"}},
		"newState": {"type": "docker:index/image:Image", "inputs": {"imageName": "b"}}},
	{"op": "update", "urn": "urn:pulumi:staging::platform::kubernetes:apps/v1:Deployment::api",
		"oldState": {"type": "kubernetes:apps/v1:Deployment", "inputs": {"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": {"name": "api", "namespace": "apps"}, "spec": {"replicas": 2, "template": {"spec": {"containers": [
				{"resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]}}}}},
		"newState": {"type": "kubernetes:apps/v1:Deployment", "inputs": {"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": {"name": "api", "namespace": "apps"}, "spec": {"replicas": 3, "template": {"spec": {"containers": [
				{"resources": {"requests": {"cpu": "200m", "memory": "128Mi"}}}]}}}}}},
	{"op": "create", "urn": "urn:pulumi:staging::platform::kubernetes:core/v1:Secret::user-service-blue",
		"newState": {"type": "kubernetes:core/v1:Secret", "inputs": {"apiVersion": "v1", "kind": "Secret", "data": "[secret]",
			"metadata": {"namespace": "apps"}}}},
	{"op": "create-replacement", "urn": "urn:pulumi:staging::platform::kubernetes:core/v1:Namespace::data",
		"newState": {"type": "kubernetes:core/v1:Namespace", "inputs": {}}},
	{"op": "replace", "urn": "urn:pulumi:staging::platform::kubernetes:core/v1:Namespace::data",
		"oldState": {"type": "kubernetes:core/v1:Namespace", "inputs": {"apiVersion": "v1", "kind": "Namespace"}},
		"newState": {"type": "kubernetes:core/v1:Namespace", "inputs": {"apiVersion": "v1", "kind": "Namespace"}}},
	{"op": "delete", "urn": "urn:pulumi:staging::platform::kubernetes:core/v1:Service::user-service-green",
		"oldState": {"type": "kubernetes:core/v1:Service", "inputs": {"apiVersion": "v1", "kind": "Service",
			"metadata": {"name": "user-service-green", "namespace": "apps"}}}},
	{"op": "update", "urn": "urn:pulumi:staging::platform::kubernetes:rbac.authorization.k8s.io/v1:ClusterRole::reader",
		"oldState": {"type": "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", "inputs": {"apiVersion": "rbac.authorization.k8s.io/v1",
			"kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": [{"verbs": ["get"]}]}},
		"newState": {"type": "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole", "inputs": {"apiVersion": "rbac.authorization.k8s.io/v1",
			"kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": [{"verbs": ["*"]}]}}}
], "diagnostics": [
	{"severity": "info", "message": "<{%reset%}>user-service is released: from aaa to bbb in green (r@sha256:1)<{%reset%}>\n"},
	{"severity": "info", "message": "Preparing image for caching\n"},
	{"severity": "warning", "message": "service order-service: replicas: 0, want 2: pulumi up restores it\n"}
]}`

func written(t *testing.T, preview Preview, reasons map[string][]string) string {
	t.Helper()
	var text strings.Builder
	preview.Write(&text, stack.Staging, reasons)
	return text.String()
}

func TestSummaryOfAPreview(t *testing.T) {
	preview, err := Read("staging", strings.NewReader(output), false)
	if err != nil {
		t.Fatal(err)
	}
	text := written(t, preview, map[string][]string{"user-service": {"apps/internal/postgres"}, "order-service": {"apps/order-service"}})
	for _, want := range []string{
		"### Preview of stack staging\n",
		"1 to replace, 1 to delete, 3 to update, 1 to create, 0 unchanged.\n",
		"**Releases**\n\n- user-service is released: from aaa to bbb in green (r@sha256:1); changed sources: apps/internal/postgres\n",
		"- replace Namespace data (data loss: everything in it is deleted)\n" +
			"- delete Service apps/user-service-green (none: it belongs to a version without traffic)\n",
		"**Policy**\n\n- ClusterRole reader: ",
		"- `+` ClusterRole reader rules: `{\"verbs\":[\"*\"]}`\n- `-` ClusterRole reader rules: `{\"verbs\":[\"get\"]}`\n",
		"**Warnings**\n\n- service order-service: replicas: 0, want 2",
		"- CPU: 600m, before: 200m\n- memory: 384Mi, before: 256Mi\n",
		"- update Deployment apps/api (spec.replicas, spec.template.spec.containers[0].resources.requests.cpu)\n",
		"- update Image user-service (imageName)\n",
		"- update or create 1 objects of the released versions and their standbys\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the summary lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "Preparing image") || strings.Contains(text, "create-replacement") || strings.Contains(text, "Secret.data") {
		t.Errorf("the summary has steps or messages that no reviewer needs:\n%s", text)
	}
	if replaced, warnings := strings.Index(text, "**Replaced"), strings.Index(text, "**Warnings"); replaced > warnings {
		t.Errorf("replaced resources come after the warnings:\n%s", text)
	}
}

func TestAPreviewThatFailedShowsOnlyItsErrors(t *testing.T) {
	preview, err := Read("staging", strings.NewReader(`{"steps": [{"op": "create", "urn": "urn:pulumi:s::p::kubernetes:core/v1:Secret::a",
		"newState": {"type": "kubernetes:core/v1:Secret", "inputs": {}}}], "diagnostics": [{"severity": "error", "message": "no cluster"}]}`), true)
	if err != nil {
		t.Fatal(err)
	}
	if text, want := written(t, preview, nil), "### Preview of stack staging\n\n\n**The preview failed**\n\n- no cluster\n"; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

// The program may fail before it reports an error to pulumi.
func TestAPreviewThatFailedWithoutAnErrorIsNotOneWithoutChanges(t *testing.T) {
	for output, want := range map[string]string{
		`{}`: "- pulumi reported no error: run `pulumi preview --stack staging`",
		`{"diagnostics": [{"severity": "info#err", "message": "go.work requires go >= 1.26"}]}`: "- go.work requires go >= 1.26\n",
	} {
		preview, err := Read("staging", strings.NewReader(output), true)
		if text := written(t, preview, nil); err != nil || !strings.Contains(text, want) || strings.Contains(text, "No changes") {
			t.Errorf("got %v, %s, want %s", err, text, want)
		}
	}
}

func TestBrokenOutputIsAnError(t *testing.T) {
	if _, err := Read("staging", strings.NewReader("error: no stack"), false); err == nil || !strings.Contains(err.Error(), "pulumi preview --json --stack staging") {
		t.Errorf("got %v", err)
	}
}

func TestComparisonOfRenderedManifests(t *testing.T) {
	manifest := func(kind, name string, value any) map[string]any {
		return map[string]any{"kind": kind, "metadata": map[string]any{"name": name, "namespace": "apps"}, "spec": value}
	}
	preview := Compare("production",
		[]map[string]any{manifest("Service", "a", 1), manifest("Service", "b", 1), manifest("Service", "c", 1)},
		[]map[string]any{manifest("Service", "b", 1), manifest("Service", "c", 2), manifest("Service", "d", 1)})
	var operations []Operation
	for _, change := range preview.Changes {
		operations = append(operations, change.Operation)
	}
	if want := []Operation{Delete, Same, Update, Create}; !slices.Equal(operations, want) {
		t.Errorf("got %v, want %v", operations, want)
	}
	if text := written(t, preview, nil); !strings.Contains(text, "- delete Service apps/a (downtime: its address changes)\n") {
		t.Errorf("got %s", text)
	}
	same := Compare("production", []map[string]any{manifest("Service", "a", 1)}, []map[string]any{manifest("Service", "a", 1)})
	if text := written(t, same, nil); !strings.Contains(text, "No changes: all 1 resources stay as they are.") {
		t.Errorf("got %s", text)
	}
}

func TestChangedFieldsArePaths(t *testing.T) {
	for name, test := range map[string]struct {
		before, after map[string]any
		want          []string
	}{
		"nothing":           {map[string]any{"a": 1}, map[string]any{"a": 1}, nil},
		"added and removed": {map[string]any{"a": 1}, map[string]any{"b": 1}, []string{"a", "b"}},
		"below a map":       {map[string]any{"a": map[string]any{"b": 1}}, map[string]any{"a": map[string]any{"b": 2}}, []string{"a.b"}},
		"in a list":         {map[string]any{"a": []any{1, 2}}, map[string]any{"a": []any{1, 3}}, []string{"a[1]"}},
		"a longer list":     {map[string]any{"a": []any{1}}, map[string]any{"a": []any{1, 3}}, []string{"a"}},
		"a list for a map":  {map[string]any{"a": map[string]any{}}, map[string]any{"a": []any{1}}, []string{"a"}},
	} {
		if got := (Change{Before: test.before, After: test.after}).Fields(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// newRepository returns a repository in a new registry.
func newRepository(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/shop"
}

// pushed is the reference and the size of a new image of some KiB.
func pushed(t *testing.T, repository string, kibibytes int64) (reference, size string) {
	t.Helper()
	image, err := random.Image(kibibytes<<10, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	at, err := name.NewDigest(repository + "@" + digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(at, image); err != nil {
		t.Fatal(err)
	}
	return at.String(), fmt.Sprintf("%.1f MiB", float64(kibibytes)/1024)
}

func TestSizesOfImages(t *testing.T) {
	repository := newRepository(t)
	former, before := pushed(t, repository, 307)
	next, after := pushed(t, repository, 512)
	absent := repository + "@sha256:" + strings.Repeat("0", 64)
	build := t.TempDir()
	if err := os.Mkdir(build+"/shop", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(build+"/shop/app", make([]byte, 40<<20), 0o600); err != nil { // zeros compress well
		t.Fatal(err)
	}
	released := func(image string) string {
		return release.Plan{Move: release.Release, From: "a", Version: "b", Live: release.Green}.Sentence("shop", image, time.Hour)
	}
	for title, test := range map[string]struct {
		sentence, live, build string
		want                  string
	}{
		"both in the registry":    {released(next), former, build, "shop: " + after + ", before: " + before},
		"not pushed yet":          {released(absent), former, build, "shop: about 0.0 MiB, before: " + before},
		"neither pushed nor here": {released(absent), former, "", "shop: unknown (GET "},
		"the former one is gone":  {released(next), absent, build, "shop: " + after + ", before: unknown (GET "},
		"a standby version": {release.Plan{Move: release.Return, From: "a", Version: "b", Live: release.Green}.Sentence("shop", next, time.Hour), former, "",
			"shop: " + after + ", before: " + before},
		"nothing moves": {release.Plan{Move: release.Hold, Version: "b", Live: release.Green}.Sentence("shop", next, time.Hour), former, "", ""},
	} {
		preview := Preview{Stack: "staging", Releases: []string{test.sentence}, Changes: []Change{{Operation: Same, Before: map[string]any{
			"kind": "Deployment", "spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": test.live}}}}},
		}}}}
		preview.Changes[0].Object.Kind, preview.Changes[0].Object.Name = "Deployment", "shop-blue"
		preview.Measure(t.Context(), test.build)
		if got := strings.Join(preview.Sizes, "; "); !strings.HasPrefix(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s: got %q, want %q", title, got, test.want)
		}
		if text := written(t, preview, nil); test.want != "" && !strings.Contains(text, "**Image sizes, compressed**\n\n- "+test.want) {
			t.Errorf("%s: the summary lacks the size:\n%s", title, text)
		}
	}
}

func TestSourcesOfAService(t *testing.T) {
	root := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		command := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		command.Dir = root
		if printed, err := command.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, printed)
		}
	}
	put := func(path, content string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("apps/go.mod", "module example.com/apps\n\ngo 1.26\n")
	put("apps/internal/common/common.go", "package common\n")
	put("apps/a/main.go", "package main\n\nimport _ \"example.com/apps/internal/common\"\n\nfunc main() {}\n")
	put("apps/b/main.go", "package main\n\nfunc main() {}\n")
	git("init", "--quiet")
	git("add", ".")
	git("commit", "--quiet", "--message", "first")
	services := []catalog.Service{{Name: "a"}, {Name: "b"}}
	for _, test := range []struct {
		file, name string
		a, b       []string
	}{
		{"apps/internal/common/common.go", "common", []string{"apps/internal/common"}, nil},
		{"apps/b/migrations/0001.sql", "", nil, []string{"apps/b"}},
		{"apps/a/main_test.go", "main", nil, nil},
		{"apps/go.sum", "", []string{"apps/go.sum"}, []string{"apps/go.sum"}},
		{"docs/README.md", "", nil, nil},
	} {
		git("reset", "--hard", "--quiet")
		git("clean", "--force", "-d", "--quiet")
		put(test.file, "package "+test.name+" // changed\n")
		git("add", ".")
		sources, err := Sources(t.Context(), root, "HEAD", services)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(sources["a"], test.a) || !slices.Equal(sources["b"], test.b) {
			t.Errorf("%s: got %v", test.file, sources)
		}
	}
	if _, err := Sources(t.Context(), root, "unknown", services); err == nil || !strings.Contains(err.Error(), "git diff --name-only") {
		t.Errorf("an unknown commit: %v", err)
	}
}
