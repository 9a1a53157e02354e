package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/test/variant"
)

// copyOfTheClone is a clone of the platform's sources to change, bound to the same stack.
func copyOfTheClone(t *testing.T) string {
	t.Helper()
	clone, err := variant.New(".", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return string(clone)
}

// change replaces a text in a file of a clone.
func change(t *testing.T, clone, file, old, replacement string) {
	t.Helper()
	if err := variant.Copy(clone).Replace(file, old, replacement); err != nil {
		t.Fatal(err)
	}
}

// upFrom runs an update from a clone and returns all that it says.
func upFrom(clone string) (string, error) {
	return attempt("bash", "-c", fmt.Sprintf("cd '%s' && pulumi up --stack local --yes --skip-preview --non-interactive 2>&1", clone))
}

// impatient has rollouts given up after half a minute.
func impatient(t *testing.T, clone string) {
	t.Helper()
	change(t, clone, "infra/stack/settings.go", `local: "2m", staging: "5m"`, `local: "30s", staging: "5m"`)
}

// unharmed is an error unless the API serves, and the same ReplicaSets and StatefulSets run as before, each with a pod of
// before: an autoscaler may add or take others at any time.
func unharmed(t *testing.T) func() {
	t.Helper()
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	running := func() map[string][]string { // ready pods, by what they belong to
		ready := `{range .items[?(@.status.containerStatuses[0].ready==true)]}` +
			`{.metadata.namespace}/{.metadata.ownerReferences[0].name}{" "}{.metadata.name}{"\n"}{end}`
		pods := map[string][]string{}
		for line := range strings.Lines(output(t, "kubectl", "get", "pods", "--all-namespaces", "--output=jsonpath="+ready)) {
			owner, pod, _ := strings.Cut(strings.TrimSpace(line), " ")
			if !strings.HasPrefix(owner, "kube-system/") {
				pods[owner] = append(pods[owner], pod)
			}
		}
		return pods
	}
	eventually(t, 2*time.Minute, "nothing ends any more", func() error {
		ending := output(t, "kubectl", "get", "pods", "--all-namespaces",
			"--output=jsonpath={range .items[?(@.metadata.deletionTimestamp)]}{.metadata.name} {end}")
		if ending != "" {
			return fmt.Errorf("still ending: %s", ending)
		}
		return nil
	})
	before := running()
	return func() {
		t.Helper()
		if _, err := api.expect(http.MethodGet, "/api/users/me", token, nil, http.StatusOK); err != nil {
			t.Errorf("the API is harmed: %v", err)
		}
		after := running()
		for owner, pods := range before {
			if !slices.ContainsFunc(pods, func(pod string) bool { return slices.Contains(after[owner], pod) }) {
				t.Errorf("what ran before is harmed: %s had %v, and has %v", owner, pods, after[owner])
			}
		}
		for owner, pods := range after {
			if len(before[owner]) == 0 {
				t.Errorf("what didn't run before runs: %s with %v", owner, pods)
			}
		}
	}
}

func TestAnUpdateThatFailsSaysWhyAndHarmsNothing(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	heal := func() {
		if _, err := attempt("kubectl", "delete", "resourcequota", "e2e-small", "--namespace=apps", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
		if said, err := upFrom(root); err != nil {
			t.Errorf("the next update doesn't heal: %v\n%s", err, said)
		}
	}
	tests := []struct {
		name string
		harm func(clone string)
		want []string
	}{
		{"a binary that ends at once", func(clone string) {
			source := "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc init() {\n\tfmt.Fprintln(os.Stderr, \"the licence has ended\")\n\tos.Exit(3)\n}\n"
			if err := os.WriteFile(filepath.Join(clone, "apps", "api-gateway", "broken.go"), []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{
			`Deployment apps/api-gateway-(blue|green) isn't ready: pod api-gateway-(blue|green)-\S+ ended \(exit code 3\), its last log line: the licence has ended; the previous version keeps running`,
		}},
		{"an image that isn't there", func(clone string) {
			change(t, clone, "infra/image/upstream.json", "traefik:v3.6.2", "traefik:v0.0.0")
		}, []string{
			`Deployment edge/edge isn't ready: pod edge-\S+ can't pull the image docker.io/library/traefik:v0.0.0: .*; the previous version keeps running`,
		}},
		{"a quota that is too small", func(clone string) {
			quota := "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: e2e-small, namespace: apps}\nspec: {hard: {pods: \"1\"}}\n"
			if _, err := feed(quota, "kubectl", "apply", "--filename=-"); err != nil {
				t.Fatal(err)
			}
			change(t, clone, "infra/catalog/services.go", "128 * quantity.MiB", "129 * quantity.MiB")
		}, []string{
			`Deployment apps/\S+-(blue|green) isn't ready: its pods are refused: .*exceeded quota: e2e-small.*; the previous version keeps running`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Cleanup(heal)
			check := unharmed(t)
			clone := copyOfTheClone(t)
			impatient(t, clone)
			test.harm(clone)
			said, err := upFrom(clone)
			if err == nil {
				t.Fatalf("the update succeeds:\n%s", said)
			}
			for _, want := range test.want {
				if !regexp.MustCompile(want).MatchString(said) {
					t.Errorf("it doesn't say %s, but\n%s", want, strings.Join(regexp.MustCompile(`(?m)^.*isn't ready.*$`).FindAllString(said, -1), "\n"))
				}
			}
			check()
		})
	}
}

func TestWhatIsWrongIsSaidBeforeAnythingIsTouched(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	check := unharmed(t)
	clone := copyOfTheClone(t)
	tests := []struct{ name, command, want string }{
		{"an unknown stack", "pulumi preview --stack dev", "no stack named 'dev'"},
		{"an unknown key", "pulumi config set platform:deadlines 3m --stack local && pulumi preview --stack local",
			"stack local: platform:deadlines: unknown key: the nearest known one is platform:deadline"},
		{"a missing secret", "pulumi config rm platform:jwtKeys --stack local && pulumi preview --stack local",
			"stack local: platform:jwtKeys: missing secret: run `make secrets STACK=local`"},
		{"a secret in plain text", "pulumi config set platform:redisPassword hunter2hunter2 --plaintext --stack local && pulumi preview --stack local",
			"stack local: platform:redisPassword: stored in plain text"},
		{"a cluster that there isn't", "pulumi config set platform:kubeContext elsewhere --stack local && pulumi preview --stack local",
			`stack local: kubeconfig: context "elsewhere" does not exist`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// A configuration of its own: that of the platform stays as it is.
			own := "cp -L '" + filepath.Join(root, "Pulumi.local.yaml") + "' own && mv own Pulumi.local.yaml"
			said, err := attempt("bash", "-c", fmt.Sprintf("cd '%s' && %s && (%s) 2>&1", clone, own, test.command))
			if err == nil || !strings.Contains(said, test.want) {
				t.Errorf("%v: it says\n%s\nwant %s", err, said, test.want)
			}
			if strings.Contains(said, "hunter2") {
				t.Error("it quotes the secret")
			}
		})
	}
	check()
}
